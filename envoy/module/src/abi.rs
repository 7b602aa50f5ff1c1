//! Between Envoy and safe code: the hooks that Envoy calls, and the callbacks that it
//! offers, found when the module is loaded.
//!
//! Envoy's `abi.h` is the source of the names, types and numbers. A module of another
//! kind of Envoy is refused at the start, with a line that says what is missing.

#![allow(unsafe_code, reason = "a C interface: each block says why it is sound")]

mod hooks;

use std::{
    ffi::{CStr, c_void},
    marker::PhantomData,
    ptr, slice,
    sync::{LazyLock, OnceLock},
};

use crate::route::Route;

type Handle = *mut c_void;

/// Bytes of Envoy's or of ours, which whoever has made them keeps.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Buffer {
    start: *const u8,
    length: usize,
}

/// A header of Envoy's or of ours.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawHeader {
    name: Buffer,
    value: Buffer,
}

impl Buffer {
    const NONE: Self = Self { start: ptr::null(), length: 0 };

    fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }

    /// # Safety
    ///
    /// Whoever made it has to keep it for as long as `'a`.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.start.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: it is a run of bytes, and kept, as the caller promises.
        unsafe { slice::from_raw_parts(self.start, self.length) }
    }
}

macro_rules! callbacks {
    ($($name:ident: $symbol:literal, $type:ty;)*) => {
        /// What Envoy offers.
        struct Callbacks {
            $($name: $type,)*
        }

        impl Callbacks {
            /// Those of the process that has loaded this; the first one that is missing.
            fn find() -> Result<Self, &'static CStr> {
                $(
                    let symbol = offered($symbol).ok_or($symbol)?;
                    // SAFETY: Envoy's function of this name has this type, by its abi.h.
                    let $name = unsafe { std::mem::transmute::<*mut c_void, $type>(symbol) };
                )*
                Ok(Self { $($name,)* })
            }
        }
    };
}

callbacks! {
    log: c"envoy_dynamic_module_callback_log", extern "C" fn(u32, Buffer);
    count_headers: c"envoy_dynamic_module_callback_http_get_headers_size", extern "C" fn(Handle, u32) -> usize;
    get_headers: c"envoy_dynamic_module_callback_http_get_headers", extern "C" fn(Handle, u32, *mut RawHeader) -> bool;
    set_header: c"envoy_dynamic_module_callback_http_set_header", extern "C" fn(Handle, u32, Buffer, Buffer) -> bool;
    count_chunks: c"envoy_dynamic_module_callback_http_get_body_chunks_size", extern "C" fn(Handle, u32) -> usize;
    get_chunks: c"envoy_dynamic_module_callback_http_get_body_chunks", extern "C" fn(Handle, u32, *mut Buffer) -> bool;
    respond: c"envoy_dynamic_module_callback_http_send_response", extern "C" fn(Handle, u32, *mut RawHeader, usize, Buffer, Buffer);
    set_metadata: c"envoy_dynamic_module_callback_http_set_dynamic_metadata_string", extern "C" fn(Handle, Buffer, Buffer, Buffer);
    define_counter: c"envoy_dynamic_module_callback_http_filter_config_define_counter", extern "C" fn(Handle, Buffer, *mut Buffer, usize, *mut usize) -> u32;
    count: c"envoy_dynamic_module_callback_http_filter_increment_counter", extern "C" fn(Handle, usize, *mut Buffer, usize, u64) -> u32;
    define_gauge: c"envoy_dynamic_module_callback_http_filter_config_define_gauge", extern "C" fn(Handle, Buffer, *mut Buffer, usize, *mut usize) -> u32;
    set_gauge: c"envoy_dynamic_module_callback_http_filter_set_gauge", extern "C" fn(Handle, usize, *mut Buffer, usize, u64) -> u32;
    add_header: c"envoy_dynamic_module_callback_http_add_header", extern "C" fn(Handle, u32, Buffer, Buffer) -> bool;
    get_metadata: c"envoy_dynamic_module_callback_http_get_metadata_string", extern "C" fn(Handle, u32, Buffer, Buffer, *mut Buffer) -> bool;
    get_route: c"envoy_dynamic_module_callback_get_most_specific_route_config", extern "C" fn(Handle) -> *const c_void;
    get_attribute: c"envoy_dynamic_module_callback_http_filter_get_attribute_string", extern "C" fn(Handle, u32, *mut Buffer) -> bool;
}

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();

type LimitBuffer = extern "C" fn(Handle, u64);
type AddToList = extern "C" fn(Handle, Buffer, Buffer, Buffer) -> bool;
type SetAllMetadata = extern "C" fn(Handle, Buffer, *const RawHeader, usize);

/// What later Envoys offer, too.
struct Later {
    /// From 1.38 on.
    limit_buffer: Option<LimitBuffer>,
    /// From 1.38 on.
    add_to_list: Option<AddToList>,
    /// From 1.39 on.
    set_all_metadata: Option<SetAllMetadata>,
}

static LATER: LazyLock<Later> = LazyLock::new(|| {
    let limit_buffer = offered(c"envoy_dynamic_module_callback_http_set_buffer_limit");
    let add_to_list =
        offered(c"envoy_dynamic_module_callback_http_add_dynamic_metadata_list_string");
    let all = offered(c"envoy_dynamic_module_callback_http_set_dynamic_metadata_string_batch");
    // SAFETY: Envoy's functions of these names have these types, by its abi.h.
    unsafe {
        Later {
            limit_buffer: limit_buffer
                .map(|symbol| std::mem::transmute::<*mut c_void, LimitBuffer>(symbol)),
            add_to_list: add_to_list
                .map(|symbol| std::mem::transmute::<*mut c_void, AddToList>(symbol)),
            set_all_metadata: all
                .map(|symbol| std::mem::transmute::<*mut c_void, SetAllMetadata>(symbol)),
        }
    }
});

/// A function of the process by its name.
fn offered(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with a zero, and the handle is the loader's own.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}

/// How loud a line of the log is, by Envoy's numbers.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Level {
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// Writes a line into Envoy's log; for every thread.
pub(crate) fn log(level: Level, line: &str) {
    if let Some(callbacks) = CALLBACKS.get() {
        (callbacks.log)(level as u32, Buffer::of(line.as_bytes()));
    }
}

/// A counter of Envoy's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter(usize);

/// A number of Envoy's that rises and falls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauge(usize);

impl Counter {
    /// Defines it for a filter's configuration, in the hook that makes it; none where Envoy
    /// does not take it.
    fn define(config: Handle, name: &str, labels: &[&str]) -> Option<Self> {
        let mut labels: Vec<Buffer> =
            labels.iter().map(|label| Buffer::of(label.as_bytes())).collect();
        let (name, mut number) = (Buffer::of(name.as_bytes()), 0);
        let (start, count) = (labels.as_mut_ptr(), labels.len());
        let define = CALLBACKS.get()?.define_counter;
        (define(config, name, start, count, &raw mut number) == 0).then_some(Self(number))
    }
}

impl Gauge {
    /// The same for one without labels.
    fn define(config: Handle, name: &str) -> Option<Self> {
        let (name, mut number) = (Buffer::of(name.as_bytes()), 0);
        let define = CALLBACKS.get()?.define_gauge;
        let done = define(config, name, ptr::null_mut(), 0, &raw mut number);
        (done == 0).then_some(Self(number))
    }
}

/// The headers of the request, of all that Envoy has.
const REQUEST: u32 = 0;
/// Those of the answer.
const ANSWER: u32 = 2;
/// The metadata that filters tell, of all that there is.
const DYNAMIC: u32 = 0;

/// What Envoy knows of a request beside its headers, by Envoy's numbers.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Attribute {
    RequestId = 9,
    Protocol = 10,
    SourceAddress = 24,
    SubjectOfOwnCertificate = 32,
    SubjectOfPeer = 33,
    DnsNameOfOwnCertificate = 34,
    DnsNameOfPeer = 35,
    UriOfOwnCertificate = 36,
    UriOfPeer = 37,
}

/// Which part of the request's body.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Part {
    /// What has just come.
    Received = 0,
    /// What Envoy keeps of what came before.
    Kept = 1,
}

/// A request of Envoy's, within one of its hooks. What is borrowed from it ends where
/// something is changed, as it does in Envoy.
#[derive(Debug)]
pub(crate) struct Stream<'h> {
    handle: Handle,
    callbacks: &'static Callbacks,
    hook: PhantomData<&'h ()>,
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callbacks")
    }
}

impl Stream<'_> {
    /// The request that Envoy names in a hook; none before the module has been loaded.
    fn of(handle: Handle) -> Option<Self> {
        Some(Self { handle, callbacks: CALLBACKS.get()?, hook: PhantomData })
    }

    /// All headers, with the pseudo headers of HTTP/2.
    pub(crate) fn headers(&self) -> Option<Vec<(&[u8], &[u8])>> {
        let count = (self.callbacks.count_headers)(self.handle, REQUEST);
        let mut raw = vec![RawHeader { name: Buffer::NONE, value: Buffer::NONE }; count];
        if !(self.callbacks.get_headers)(self.handle, REQUEST, raw.as_mut_ptr()) {
            return None;
        }
        // SAFETY: Envoy keeps them until a header is changed, which takes `&mut self`.
        let bytes = |buffer: Buffer| unsafe { buffer.bytes() };
        Some(raw.iter().map(|header| (bytes(header.name), bytes(header.value))).collect())
    }

    /// A part of the body, in pieces.
    pub(crate) fn body(&self, part: Part) -> Vec<&[u8]> {
        let part = part as u32;
        let count = (self.callbacks.count_chunks)(self.handle, part);
        let mut raw = vec![Buffer::NONE; count];
        if count == 0 || !(self.callbacks.get_chunks)(self.handle, part, raw.as_mut_ptr()) {
            return Vec::new();
        }
        // SAFETY: Envoy keeps them until the hook ends, or something is changed.
        raw.iter().map(|buffer| unsafe { buffer.bytes() }).collect()
    }

    /// What Envoy knows, as text; empty where it does not.
    pub(crate) fn attribute(&self, which: Attribute) -> &str {
        let mut found = Buffer::NONE;
        if !(self.callbacks.get_attribute)(self.handle, which as u32, &raw mut found) {
            return "";
        }
        // SAFETY: Envoy keeps it for as long as the request.
        std::str::from_utf8(unsafe { found.bytes() }).unwrap_or_default()
    }

    /// Puts a header in the place of all of its name. Whether Envoy has done so.
    #[must_use]
    pub(crate) fn set(&mut self, name: &str, value: &str) -> bool {
        let (name, value) = (Buffer::of(name.as_bytes()), Buffer::of(value.as_bytes()));
        (self.callbacks.set_header)(self.handle, REQUEST, name, value)
    }

    /// Takes off all headers of this name. Whether Envoy has done so.
    #[must_use]
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let name = Buffer::of(name.as_bytes());
        (self.callbacks.set_header)(self.handle, REQUEST, name, Buffer::NONE)
    }

    /// Adds a header to the answer.
    pub(crate) fn add_to_answer(&mut self, name: &str, value: &str) {
        let (name, value) = (Buffer::of(name.as_bytes()), Buffer::of(value.as_bytes()));
        (self.callbacks.add_header)(self.handle, ANSWER, name, value);
    }

    /// Counts one more, by as many labels as the counter has.
    pub(crate) fn count(&mut self, Counter(number): Counter, labels: &[&str]) {
        const MOST: usize = 3;
        let mut buffers = [Buffer::NONE; MOST];
        for (buffer, label) in buffers.iter_mut().zip(labels) {
            *buffer = Buffer::of(label.as_bytes());
        }
        let count = labels.len().min(MOST);
        (self.callbacks.count)(self.handle, number, buffers.as_mut_ptr(), count, 1);
    }

    /// Sets a number.
    pub(crate) fn set_gauge(&mut self, Gauge(number): Gauge, value: u64) {
        (self.callbacks.set_gauge)(self.handle, number, ptr::null_mut(), 0, value);
    }

    /// A text that another filter has told.
    pub(crate) fn told(&self, namespace: &str, key: &str) -> Option<&str> {
        let (namespace, key) = (Buffer::of(namespace.as_bytes()), Buffer::of(key.as_bytes()));
        let mut found = Buffer::NONE;
        let get = self.callbacks.get_metadata;
        if !get(self.handle, DYNAMIC, namespace, key, &raw mut found) {
            return None;
        }
        // SAFETY: Envoy keeps it until the hook ends, or metadata is set, which takes
        // `&mut self`.
        std::str::from_utf8(unsafe { found.bytes() }).ok()
    }

    /// What the route says to the filter, if anything.
    pub(crate) fn route(&self) -> Option<&Route> {
        let route = (self.callbacks.get_route)(self.handle);
        // SAFETY: `…_per_route_config_new` has made it, and Envoy keeps it for longer than
        // its requests.
        unsafe { route.cast::<Route>().as_ref() }
    }

    /// Tells other filters and the access log.
    pub(crate) fn tell(&mut self, namespace: &str, texts: &[(&str, String)]) {
        let buffer = |text: &str| Buffer::of(text.as_bytes());
        let namespace = buffer(namespace);
        let texts = texts.iter().map(|(key, text)| (buffer(key), buffer(text)));
        if let Some(set_all) = LATER.set_all_metadata {
            let all: Vec<RawHeader> =
                texts.map(|(name, value)| RawHeader { name, value }).collect();
            return set_all(self.handle, namespace, all.as_ptr(), all.len());
        }
        for (key, text) in texts {
            (self.callbacks.set_metadata)(self.handle, namespace, key, text);
        }
    }

    /// Adds a text to a list that is told; where Envoy cannot, nothing.
    pub(crate) fn tell_one_more(&mut self, namespace: &str, key: &str, value: &str) {
        if let Some(add) = LATER.add_to_list {
            let [namespace, key, value] =
                [namespace, key, value].map(|text| Buffer::of(text.as_bytes()));
            add(self.handle, namespace, key, value);
        }
    }

    /// Has Envoy keep so much of the body, in bytes; where it cannot, it keeps as much as a
    /// connection may (`per_connection_buffer_limit_bytes`).
    pub(crate) fn keep_body(&mut self, bytes: usize) {
        if let Some(limit) = LATER.limit_buffer {
            limit(self.handle, bytes as u64);
        }
    }

    /// Answers the request; `details` are for `%RESPONSE_CODE_DETAILS%`.
    pub(crate) fn respond(
        &mut self,
        status: u16,
        headers: &[(String, String)],
        body: &str,
        details: &str,
    ) {
        let buffer = |text: &str| Buffer::of(text.as_bytes());
        let mut raw: Vec<RawHeader> = headers
            .iter()
            .map(|(name, value)| RawHeader { name: buffer(name), value: buffer(value) })
            .collect();
        let (start, count) = (raw.as_mut_ptr(), raw.len());
        let (body, details) = (buffer(body), buffer(details));
        (self.callbacks.respond)(self.handle, status.into(), start, count, body, details);
    }
}
