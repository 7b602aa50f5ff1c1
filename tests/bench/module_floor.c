/* What Envoy takes for a dynamic module, whatever that thinks: one that does nothing, or
 * asks of Envoy what an allowed check does, with the same texts for every request. The
 * configuration names the parts by letters: h reads all headers, a nine attributes, r
 * the route's configuration; s sets four headers, m tells six facts as metadata, c
 * counts. Names and types are those of Envoy's abi.h. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const char *start; size_t length; } text;
typedef struct { text name, value; } pair;
typedef struct { bool headers, attributes, route, set, metadata, count; size_t counter; } parts;
typedef struct { const parts *parts; } call;

size_t envoy_dynamic_module_callback_http_get_headers_size(void *, uint32_t);
bool envoy_dynamic_module_callback_http_get_headers(void *, uint32_t, pair *);
bool envoy_dynamic_module_callback_http_filter_get_attribute_string(void *, uint32_t, text *);
const void *envoy_dynamic_module_callback_get_most_specific_route_config(void *);
bool envoy_dynamic_module_callback_http_set_header(void *, uint32_t, text, text);
void envoy_dynamic_module_callback_http_set_dynamic_metadata_string_batch(void *, text, const pair *, size_t);
uint32_t envoy_dynamic_module_callback_http_filter_config_define_counter(void *, text, text *, size_t, size_t *);
uint32_t envoy_dynamic_module_callback_http_filter_increment_counter(void *, size_t, text *, size_t, uint64_t);

#define TEXT(literal) ((text){literal, sizeof(literal) - 1})

const char *envoy_dynamic_module_on_program_init(void) { return "v0.2.0"; }

const void *envoy_dynamic_module_on_http_filter_config_new(void *envoy, text name, text config) {
    (void)name;
    parts *made = calloc(1, sizeof *made);
    made->headers = memchr(config.start, 'h', config.length);
    made->attributes = memchr(config.start, 'a', config.length);
    made->route = memchr(config.start, 'r', config.length);
    made->set = memchr(config.start, 's', config.length);
    made->metadata = memchr(config.start, 'm', config.length);
    made->count = memchr(config.start, 'c', config.length);
    text labels[] = {TEXT("decision"), TEXT("reason")};
    if (made->count)
        envoy_dynamic_module_callback_http_filter_config_define_counter(
            envoy, TEXT("checks_total"), labels, 2, &made->counter);
    return made;
}
void envoy_dynamic_module_on_http_filter_config_destroy(void *made) { free(made); }

const void *envoy_dynamic_module_on_http_filter_new(const void *made, void *envoy) {
    (void)envoy;
    call *one = malloc(sizeof *one);
    one->parts = made;
    return one;
}
void envoy_dynamic_module_on_http_filter_destroy(void *one) { free(one); }

uint32_t envoy_dynamic_module_on_http_filter_request_headers(void *envoy, void *one, bool all) {
    (void)all;
    const parts *parts = ((call *)one)->parts;
    if (parts->headers) {
        pair seen[64];
        if (envoy_dynamic_module_callback_http_get_headers_size(envoy, 0) <= 64)
            envoy_dynamic_module_callback_http_get_headers(envoy, 0, seen);
    }
    if (parts->attributes) {
        static const uint32_t wanted[] = {9, 10, 24, 37, 35, 33, 36, 34, 32};
        text seen;
        for (size_t at = 0; at < 9; at++)
            envoy_dynamic_module_callback_http_filter_get_attribute_string(envoy, wanted[at], &seen);
    }
    if (parts->route) envoy_dynamic_module_callback_get_most_specific_route_config(envoy);
    if (parts->set) {
        static const pair set[] = {
            {TEXT("x-user-id"), TEXT("7")}, {TEXT("x-user-name"), TEXT("ann")},
            {TEXT("x-user-email"), TEXT("ann@example.com")}, {TEXT("x-user-role"), TEXT("REGULAR")},
        };
        for (size_t at = 0; at < 4; at++)
            envoy_dynamic_module_callback_http_set_header(envoy, 0, set[at].name, set[at].value);
    }
    if (parts->metadata) {
        static const pair facts[] = {
            {TEXT("decision"), TEXT("allow")}, {TEXT("rule"), TEXT("agents")}, {TEXT("user_id"), TEXT("7")},
            {TEXT("role"), TEXT("REGULAR")}, {TEXT("credential"), TEXT("token")}, {TEXT("issuer"), TEXT("own")},
        };
        envoy_dynamic_module_callback_http_set_dynamic_metadata_string_batch(
            envoy, TEXT("envoy.filters.http.ext_authz"), facts, 6);
    }
    if (parts->count) {
        text labels[] = {TEXT("allow"), TEXT("")};
        envoy_dynamic_module_callback_http_filter_increment_counter(envoy, parts->counter, labels, 2, 1);
    }
    return 0;
}

#define IDLE(hook) uint32_t envoy_dynamic_module_on_http_filter_##hook(void) { return 0; }
IDLE(request_body) IDLE(request_trailers) IDLE(response_headers) IDLE(response_body) IDLE(response_trailers)
IDLE(stream_complete) IDLE(http_callout_done) IDLE(http_stream_headers) IDLE(http_stream_data)
IDLE(http_stream_trailers) IDLE(http_stream_complete) IDLE(http_stream_reset) IDLE(scheduled)
IDLE(downstream_above_write_buffer_high_watermark) IDLE(downstream_below_write_buffer_low_watermark)
