//! The hooks that Envoy calls.

use std::{
    ffi::{CStr, c_char, c_void},
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::Arc,
    thread,
};

use super::{Buffer, CALLBACKS, Callbacks, Counter, Gauge, Handle, Level, Stream, log, offered};
use crate::{
    filter::{Call, Filter, Step},
    route::Route,
    service::Service,
    settings::{Mode, Settings, Source},
};

/// The name of the interface that this Envoy has: from 1.38 on a version, of which
/// another one is only warned of; in 1.37 a hash of its own, which has to be the same.
fn interface() -> &'static CStr {
    if offered(c"envoy_dynamic_module_callback_http_get_downstream_direct_remote_address").is_some()
    {
        return c"v0.2.0";
    }
    if offered(c"envoy_dynamic_module_callback_is_validation_mode").is_some() {
        return c"v0.1.0";
    }
    c"4dae397a7c9ff0238d318d57ea656ce8b3fbff595787dcd7ee2ff5b79c9fe10f"
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    match Callbacks::find() {
        Ok(callbacks) => {
            let _ = CALLBACKS.set(callbacks);
            interface().as_ptr()
        }
        // 1.36 has others. Its log may be another one, too.
        Err(lacks) => {
            let lacks = lacks.to_string_lossy();
            let _ = writeln!(
                std::io::stderr(),
                "portcullis: this Envoy is none that the module can work in: it lacks {lacks}. \
                 Take Envoy 1.37 or later, or ask portcullis by ext_authz"
            );
            ptr::null()
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy: Handle,
    _name: Buffer,
    config: Buffer,
) -> *const c_void {
    // SAFETY: Envoy keeps it until this hook ends.
    let config = unsafe { config.bytes() };
    let made = catch_unwind(AssertUnwindSafe(|| {
        let (settings, source) = Settings::of(config)?;
        let service = Service::of(&source)?;
        let is_fed = matches!(source, Source::Feed(..));
        let compares = settings.mode == Mode::Shadow;
        let told = ["result", "ext_authz", "module"];
        let filter = Filter {
            service,
            settings,
            checks: Counter::define(envoy, "checks_total", &["decision", "reason"]),
            compared: compares.then(|| Counter::define(envoy, "shadow_total", &told)).flatten(),
            age: is_fed.then(|| Gauge::define(envoy, "feed_age_seconds")).flatten(),
            told_age: u64::MAX.into(),
        };
        Ok(Box::new(Arc::new(filter)))
    }));
    given(made)
}

/// A configuration that was made, for Envoy to keep; none where it could not be.
fn given<T>(made: thread::Result<Result<Box<T>, String>>) -> *const c_void {
    match made {
        Ok(Ok(made)) => Box::into_raw(made).cast(),
        Ok(Err(problem)) => {
            log(Level::Error, &format!("portcullis: {problem}"));
            ptr::null()
        }
        Err(_) => {
            log(Level::Error, "portcullis: a bug: the configuration could not be read");
            ptr::null()
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    _name: Buffer,
    config: Buffer,
) -> *const c_void {
    // SAFETY: Envoy keeps it until this hook ends.
    let config = unsafe { config.bytes() };
    given(catch_unwind(|| Route::of(config).map(Box::new)))
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(route: *mut c_void) {
    // SAFETY: `…_per_route_config_new` has made it, and Envoy gives it back once.
    drop(unsafe { Box::from_raw(route.cast::<Route>()) });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(filter: *mut c_void) {
    // SAFETY: `…_config_new` has made it, and Envoy gives it back once.
    let filter = unsafe { Box::from_raw(filter.cast::<Arc<Filter>>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(filter)));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_new(
    filter: *const c_void,
    _envoy: Handle,
) -> *const c_void {
    // SAFETY: `…_config_new` has made it, and Envoy keeps it for longer than its requests.
    let filter = unsafe { &*filter.cast::<Arc<Filter>>() };
    Box::into_raw(Box::new(Call::new(filter))).cast()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_destroy(call: *mut c_void) {
    // SAFETY: `…_filter_new` has made it, and Envoy gives it back once.
    let call = unsafe { Box::from_raw(call.cast::<Call>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(call)));
}

/// Has tests see what a bug in a hook comes to.
#[cfg(feature = "faults")]
#[allow(clippy::panic, reason = "that is what is tested")]
fn fault(hook: &str, stream: &Stream<'_>) {
    let mut headers = stream.headers().unwrap_or_default().into_iter();
    if headers.any(|(name, value)| name == b"x-fault" && value == hook.as_bytes()) {
        panic!("asked for by a test");
    }
}

#[cfg(not(feature = "faults"))]
fn fault(_: &str, _: &Stream<'_>) {}

/// Runs one hook of a request. A panic that left it would end Envoy: it is a denial.
fn within(
    hook: &str,
    handle: Handle,
    call: *mut c_void,
    step: impl FnOnce(&mut Call, &mut Stream<'_>) -> Step,
) -> Step {
    let Some(mut stream) = Stream::of(handle) else { return Step::Stop };
    // SAFETY: `…_filter_new` has made it, and Envoy calls the hooks of a request one by one.
    let call = unsafe { &mut *call.cast::<Call>() };
    let done = catch_unwind(AssertUnwindSafe(|| {
        fault(hook, &stream);
        step(&mut *call, &mut stream)
    }));
    let fail = || call.fail(&mut stream);
    done.or_else(|_| catch_unwind(AssertUnwindSafe(fail))).unwrap_or(Step::Stop)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    handle: Handle,
    call: *mut c_void,
    is_all: bool,
) -> u32 {
    let step = |call: &mut Call, stream: &mut Stream<'_>| call.headers(stream, is_all);
    match within("request_headers", handle, call, step) {
        Step::Continue => 0,
        // `StopIteration`: the body may come.
        Step::Stop | Step::Wait => 1,
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    handle: Handle,
    call: *mut c_void,
    is_all: bool,
) -> u32 {
    let step = |call: &mut Call, stream: &mut Stream<'_>| call.body(stream, is_all);
    match within("request_body", handle, call, step) {
        Step::Continue => 0,
        // `StopIterationAndBuffer`.
        Step::Wait => 1,
        // `StopIterationNoBuffer`: it has been answered.
        Step::Stop => 3,
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    handle: Handle,
    call: *mut c_void,
) -> u32 {
    match within("request_trailers", handle, call, Call::trailers) {
        Step::Continue => 0,
        Step::Stop | Step::Wait => 1,
    }
}

/// The same for a hook of what comes after the request: what fails there denies nothing.
fn after(
    hook: &str,
    handle: Handle,
    call: *mut c_void,
    step: impl FnOnce(&mut Call, &mut Stream<'_>),
) {
    let Some(mut stream) = Stream::of(handle) else { return };
    // SAFETY: as above.
    let call = unsafe { &mut *call.cast::<Call>() };
    // What it was is in the log.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        fault(hook, &stream);
        step(call, &mut stream);
    }));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    handle: Handle,
    call: *mut c_void,
    _is_all: bool,
) -> u32 {
    after("response_headers", handle, call, Call::answer);
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    handle: Handle,
    call: *mut c_void,
) {
    after("stream_complete", handle, call, Call::end);
}

macro_rules! idle {
    ($($name:ident)*) => {
        $(
            /// A hook that Envoy asks for, and of which nothing is wanted: 0 is to go on.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> usize {
                0
            }
        )*
    };
}

idle! {
    envoy_dynamic_module_on_http_filter_response_body
    envoy_dynamic_module_on_http_filter_response_trailers
    envoy_dynamic_module_on_http_filter_http_callout_done
    envoy_dynamic_module_on_http_filter_http_stream_headers
    envoy_dynamic_module_on_http_filter_http_stream_data
    envoy_dynamic_module_on_http_filter_http_stream_trailers
    envoy_dynamic_module_on_http_filter_http_stream_complete
    envoy_dynamic_module_on_http_filter_http_stream_reset
    envoy_dynamic_module_on_http_filter_scheduled
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark
}
