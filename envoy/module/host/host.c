/* A host of the module that is none of Envoy's: it calls the hooks in any order that Envoy
 * might, with requests of any kind, and gives back what it has lent as soon as it may. A
 * checker of memory beside it sees what the module keeps for too long.
 *
 *   host MODULE CONFIGURATION REQUESTS [SEED]
 *
 * The types are those of Envoy's abi.h. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOOK(name) "envoy_dynamic_module_on_" name
#define CALLBACK(name) envoy_dynamic_module_callback_##name
#define MOST_HEADERS 120
#define MOST_CHUNKS 8

typedef struct { const char *start; size_t length; } Buffer;
typedef struct { Buffer name, value; } Header;

/* A request, as the module sees it. */
typedef struct {
    Header headers[MOST_HEADERS];
    size_t count;
    Buffer received[MOST_CHUNKS], kept[MOST_CHUNKS];
    size_t received_count, kept_count;
    unsigned answers, told, added;
    bool is_over;
} Request;

static uint64_t state = 0x9e3779b97f4a7c15;
static unsigned long counted, answered, passed;

static uint64_t roll(uint64_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return below ? state % below : 0;
}

static void must(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "host: %s\n", what);
    exit(3);
}

static Buffer copy(const char *bytes, size_t length) {
    char *own = malloc(length ? length : 1);
    memcpy(own, bytes, length);
    return (Buffer){own, length};
}

/* Where it was is nobody's from now on. */
static void move(Buffer *buffer) {
    Buffer next = copy(buffer->start, buffer->length);
    memset((char *)buffer->start, '#', buffer->length);
    free((char *)buffer->start);
    *buffer = next;
}

static bool same(Buffer a, Buffer b) {
    return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

static void drop(Request *of, size_t at) {
    free((char *)of->headers[at].name.start);
    free((char *)of->headers[at].value.start);
    of->headers[at] = of->headers[--of->count];
}

static void add(Request *of, Buffer name, Buffer value) {
    must(of->count < MOST_HEADERS, "too many headers are set");
    Header *header = &of->headers[of->count++];
    header->name = copy(name.start, name.length);
    header->value = copy(value.start, value.length);
}

void CALLBACK(log)(uint32_t level, Buffer line) {
    (void)level;
    must(line.start != NULL || line.length == 0, "a line of nothing");
    if (getenv("HOST_SHOWS")) fprintf(stderr, "%.*s\n", (int)line.length, line.start);
}

size_t CALLBACK(http_get_headers_size)(Request *of, uint32_t kind) {
    must(kind == 0, "headers of another kind are read");
    return of->count;
}

bool CALLBACK(http_get_headers)(Request *of, uint32_t kind, Header *out) {
    must(kind == 0, "headers of another kind are read");
    memcpy(out, of->headers, of->count * sizeof *out);
    return true;
}

bool CALLBACK(http_set_header)(Request *of, uint32_t kind, Buffer name, Buffer value) {
    must(kind == 0 && !of->is_over && of->answers == 0, "a header is set too late");
    for (size_t at = 0; at < of->count;)
        if (same(of->headers[at].name, name)) drop(of, at); else at++;
    if (value.start) add(of, name, value);
    for (size_t at = 0; at < of->count; at++) {
        move(&of->headers[at].name);
        move(&of->headers[at].value);
    }
    return true;
}

bool CALLBACK(http_add_header)(Request *of, uint32_t kind, Buffer name, Buffer value) {
    must(kind == 2 && name.length && value.length, "nothing is added to an answer");
    of->added++;
    return true;
}

size_t CALLBACK(http_get_body_chunks_size)(Request *of, uint32_t kind) {
    return kind == 0 ? of->received_count : of->kept_count;
}

bool CALLBACK(http_get_body_chunks)(Request *of, uint32_t kind, Buffer *out) {
    Buffer *from = kind == 0 ? of->received : of->kept;
    memcpy(out, from, CALLBACK(http_get_body_chunks_size)(of, kind) * sizeof *out);
    return true;
}

void CALLBACK(http_send_response)(Request *of, uint32_t status, Header *headers, size_t count,
                                  Buffer body, Buffer details) {
    must(++of->answers == 1, "a request is answered twice");
    must(status >= 200 && status < 600 && details.length, "an answer is none");
    size_t sum = body.length;
    for (size_t at = 0; at < count; at++)
        for (size_t byte = 0; byte < headers[at].value.length; byte++)
            sum += (unsigned char)headers[at].value.start[byte];
    for (size_t byte = 0; byte < body.length; byte++) sum += (unsigned char)body.start[byte];
    if (sum == SIZE_MAX) puts("");
}

void CALLBACK(http_set_dynamic_metadata_string)(Request *of, Buffer space, Buffer key, Buffer value) {
    must(space.length && key.length && value.start, "metadata of nothing");
    of->told++;
}

void CALLBACK(http_set_dynamic_metadata_string_batch)(Request *of, Buffer space, const Header *all,
                                                      size_t count) {
    for (size_t at = 0; at < count; at++)
        CALLBACK(http_set_dynamic_metadata_string)(of, space, all[at].name, all[at].value);
}

bool CALLBACK(http_add_dynamic_metadata_list_string)(Request *of, Buffer space, Buffer key, Buffer value) {
    CALLBACK(http_set_dynamic_metadata_string)(of, space, key, value);
    return true;
}

bool CALLBACK(http_get_metadata_string)(Request *of, uint32_t source, Buffer space, Buffer key, Buffer *out) {
    (void)of, (void)space;
    must(source == 0, "metadata of another source");
    if (roll(2) || key.length != 8) return false;
    *out = (Buffer){"allow", 5};
    return true;
}

uint32_t CALLBACK(http_filter_config_define_counter)(void *of, Buffer name, Buffer *labels, size_t count, size_t *id) {
    (void)of, (void)name, (void)labels;
    *id = count;
    return 0;
}

uint32_t CALLBACK(http_filter_increment_counter)(void *of, size_t id, Buffer *labels, size_t count, uint64_t by) {
    (void)of, (void)labels;
    must(id == count, "a counter has other labels");
    counted += by;
    return 0;
}

uint32_t CALLBACK(http_filter_config_define_gauge)(void *of, Buffer name, Buffer *labels, size_t count, size_t *id) {
    (void)of, (void)name, (void)labels, (void)count;
    *id = 0;
    return 0;
}

uint32_t CALLBACK(http_filter_set_gauge)(void *of, size_t id, Buffer *labels, size_t count, uint64_t value) {
    (void)of, (void)id, (void)labels, (void)count, (void)value;
    return 0;
}

bool CALLBACK(http_filter_get_attribute_string)(void *of, uint32_t which, Buffer *out) {
    static const char *texts[] = {"10.1.2.3:4567", "[::1]:80", "", "HTTP/2", "\xff\xfe", "spiffe://a/b"};
    (void)of, (void)which;
    const char *text = texts[roll(6)];
    *out = (Buffer){text, strlen(text)};
    return roll(8) != 0;
}

void CALLBACK(http_set_buffer_limit)(void *of, uint64_t bytes) { (void)of, (void)bytes; }

static const void *route;
const void *CALLBACK(get_most_specific_route_config)(void *of) { (void)of; return roll(2) ? route : NULL; }

static void *found(void *module, const char *name) {
    void *symbol = dlsym(module, name);
    if (!symbol) fprintf(stderr, "host: the module has no %s\n", name), exit(3);
    return symbol;
}

static Buffer text(const char *text) { return (Buffer){text, strlen(text)}; }

static void any(Request *of, const char *token) {
    static const char *paths[] = {"/open/x", "/api/agents", "/api/agents/7?access-token=x&b=1", "/mcp",
                                  "/api/../agents", "/%zz", "", "/a//b;c=1", "/api/agents%2f7?x=%00"};
    static const char *names[] = {"authorization", "cookie", "x-user-role", "X-User_Name", "x-api-key",
                                  "content-type", "origin", "accept", "upgrade", "x-any", "\xff"};
    const char *methods[] = {"GET", "POST", "DELETE", "CONNECT", ""};
    memset(of, 0, sizeof *of);
    add(of, text(":method"), text(methods[roll(5)]));
    add(of, text(":path"), text(paths[roll(9)]));
    add(of, text(":authority"), text(roll(9) ? "a.example.com" : ""));
    add(of, text(":scheme"), text("http"));
    for (size_t left = roll(12) ? roll(6) : 60; left; left--) {
        char value[4096];
        size_t length = roll(200) ? roll(80) : sizeof value;
        for (size_t at = 0; at < length; at++) value[at] = (char)(roll(20) ? 32 + roll(95) : roll(256));
        Buffer bytes = {value, length};
        char bearer[1024];
        const char *name = names[roll(11)];
        if (!strcmp(name, "authorization") && roll(3)) {
            snprintf(bearer, sizeof bearer, "Bearer %s", token);
            bytes = text(bearer);
        } else if (!strcmp(name, "content-type")) {
            bytes = text("application/json");
        }
        add(of, text(name), bytes);
    }
}

static void clear(Buffer *chunks, size_t *count) {
    for (size_t at = 0; at < *count; at++) free((char *)chunks[at].start);
    *count = 0;
}

int main(int count, char **arguments) {
    if (count < 4) return fprintf(stderr, "host MODULE CONFIGURATION REQUESTS [SEED]\n"), 2;
    if (count > 4) state ^= strtoull(arguments[4], NULL, 0) * 0x2545f4914f6cdd1d;
    void *module = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (!module) return fprintf(stderr, "host: %s\n", dlerror()), 3;
    const char *(*init)(void) = found(module, HOOK("program_init"));
    void *(*config_new)(void *, Buffer, Buffer) = found(module, HOOK("http_filter_config_new"));
    void (*config_destroy)(void *) = found(module, HOOK("http_filter_config_destroy"));
    void *(*route_new)(Buffer, Buffer) = found(module, HOOK("http_filter_per_route_config_new"));
    void (*route_destroy)(void *) = found(module, HOOK("http_filter_per_route_config_destroy"));
    void *(*filter_new)(void *, void *) = found(module, HOOK("http_filter_new"));
    void (*filter_destroy)(void *) = found(module, HOOK("http_filter_destroy"));
    uint32_t (*headers)(void *, void *, bool) = found(module, HOOK("http_filter_request_headers"));
    uint32_t (*body)(void *, void *, bool) = found(module, HOOK("http_filter_request_body"));
    uint32_t (*trailers)(void *, void *) = found(module, HOOK("http_filter_request_trailers"));
    uint32_t (*response)(void *, void *, bool) = found(module, HOOK("http_filter_response_headers"));
    void (*complete)(void *, void *) = found(module, HOOK("http_filter_stream_complete"));
    must(init() != NULL, "the module refuses this host");
    must(!config_new(NULL, text("portcullis"), text("{}")), "an empty configuration is taken");
    must(!route_new(text("portcullis"), text("[]")), "a route of nothing is taken");
    void *filter = config_new(NULL, text("portcullis"), text(arguments[2]));
    must(filter != NULL, "the configuration is refused: set HOST_SHOWS");
    route = route_new(text("portcullis"), text("{\"context_extensions\": {\"plan\": \"gold\"}}"));
    must(route != NULL, "the route is refused");
    const char *token = getenv("HOST_TOKEN") ? getenv("HOST_TOKEN") : "junk";

    for (unsigned long left = strtoul(arguments[3], NULL, 10); left; left--) {
        Request request;
        any(&request, token);
        void *call = filter_new(filter, &request);
        bool is_all = roll(2);
        uint32_t step = headers(&request, call, is_all);
        must(!(step == 0 && request.answers), "a request that was answered goes on");
        must(!(step != 0 && is_all && !request.answers), "a request waits for what never comes");
        size_t pieces = is_all || request.answers ? 0 : roll(MOST_CHUNKS - 1);
        for (size_t at = 0; at < pieces && !request.answers; at++) {
            static const char call_of_tool[] =
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"delete_all\"}}";
            size_t length = roll(40) ? sizeof call_of_tool - 1 : 40000;
            char *bytes = calloc(1, length);
            memcpy(bytes, call_of_tool, sizeof call_of_tool - 1 < length ? sizeof call_of_tool - 1 : length);
            if (roll(2)) bytes[roll(length)] = (char)roll(256);
            request.received[0] = (Buffer){bytes, length};
            request.received_count = 1;
            bool is_last = at + 1 == pieces && roll(2);
            uint32_t then = body(&request, call, is_last);
            must(!(then == 0 && request.answers), "a request that was answered goes on");
            must(!(then == 1 && is_last), "a request waits for what never comes");
            // What it waits with is kept, elsewhere.
            if (then == 1) {
                move(&request.received[0]);
                request.kept[request.kept_count++] = request.received[0];
                request.received_count = 0;
            }
            clear(request.received, &request.received_count);
            is_all = is_last;
        }
        if (!is_all && !request.answers && roll(2)) {
            uint32_t then = trailers(&request, call);
            must(then == 0 || request.answers, "a request waits behind its trailers");
        }
        if (roll(3)) response(&request, call, roll(2));
        request.answers ? answered++ : passed++;
        request.is_over = true;
        complete(&request, call);
        filter_destroy(call);
        while (request.count) drop(&request, 0);
        clear(request.received, &request.received_count);
        clear(request.kept, &request.kept_count);
    }
    route_destroy((void *)route);
    config_destroy(filter);
    printf("%lu answered, %lu passed, %lu counted\n", answered, passed, counted);
    bool is_shadow = strstr(arguments[2], "shadow") != NULL;
    must(passed > 0 && (answered > 0) != is_shadow, "it answers all, or none");
    return 0;
}
