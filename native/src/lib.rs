//! The KPI engine's way of an ordinary record, compiled. `docs/adr/0009-ordinary-records-compiled.md` says why.
//!
//! Python decides what is ordinary, and does the rest: whatever is not ordinary comes back to it, and everything here can
//! be handed back. This file is the C interface, which `taktwatch/native.py` calls; what crosses is MessagePack.

pub mod blake2b;
pub mod boards;
pub mod engine;
pub mod json;
pub mod kafka;
pub mod ledger;
pub mod msgpack;
pub mod run;
pub mod serials;
pub mod station;
pub mod sums;
pub mod time;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice::from_raw_parts;
use std::str::from_utf8;

use engine::Engine;

/// Changes with the meaning of anything below; Python refuses another.
const INTERFACE: i32 = 3;

const NONE: i32 = 0;
const DONE: i32 = 1;
const BROKEN: i32 = -1;

#[no_mangle]
pub extern "C" fn taktwatch_interface() -> i32 {
    INTERFACE
}

/// Null where the headers cannot be read.
///
/// # Safety
/// `headers` are `length` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn taktwatch_new(headers: *const u8, length: usize) -> *mut Engine {
    match Engine::new(from_raw_parts(headers, length)) {
        Some(engine) => Box::into_raw(Box::new(engine)),
        None => std::ptr::null_mut(),
    }
}

/// # Safety
/// `engine` comes from `taktwatch_new` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn taktwatch_free(engine: *mut Engine) {
    drop(Box::from_raw(engine));
}

/// Where the last answer lies; it holds until the next call.
///
/// # Safety
/// `engine` is alive; `length` can be written to.
#[no_mangle]
pub unsafe extern "C" fn taktwatch_out(engine: *const Engine, length: *mut usize) -> *const u8 {
    *length = (*engine).out.bytes.len();
    (*engine).out.bytes.as_ptr()
}

/// # Safety
/// `engine` is alive.
#[no_mangle]
pub unsafe extern "C" fn taktwatch_open(engine: *mut Engine, wanted: i64, start: usize) {
    (*engine).open(wanted, start);
}

/// # Safety
/// `engine` is alive; `bytes` are `length` readable bytes, the same as in the calls since `taktwatch_open`.
#[no_mangle]
pub unsafe extern "C" fn taktwatch_next(engine: *mut Engine, bytes: *const u8, length: usize) -> i32 {
    let bytes = from_raw_parts(bytes, length);
    catch_unwind(AssertUnwindSafe(|| (*engine).next(bytes))).unwrap_or(BROKEN)
}

/// # Safety
/// `engine` is alive; `bytes` are `length` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn taktwatch_begin(engine: *mut Engine, bytes: *const u8, length: usize) -> i32 {
    let bytes = from_raw_parts(bytes, length);
    guarded(|| (*engine).begin(bytes))
}

/// # Safety
/// `engine` is alive; `bytes` are `length` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn taktwatch_load(engine: *mut Engine, bytes: *const u8, length: usize) -> i32 {
    let bytes = from_raw_parts(bytes, length);
    guarded(|| (*engine).load(bytes))
}

/// What is asked of a station, or of the engine where it says so.
mod verb {
    pub const WRITE_DOWN: i32 = 0;
    pub const END: i32 = 1;
    pub const CLAIM_BOARD: i32 = 2;
    pub const CLAIM_SERIAL: i32 = 3;
    pub const FORGET: i32 = 4;
    pub const FRESH_ROWS: i32 = 5;
    pub const ALL_ROWS: i32 = 6;
    pub const SEAL: i32 = 7;
    pub const TAKEN: i32 = 8;
    pub const VERDICTS: i32 = 9;
    pub const COUNT: i32 = 10;
}

/// One verb with its arguments: line, station and a name (texts of the given lengths, one after the other), two numbers.
///
/// # Safety
/// `engine` is alive; `texts` are as many readable bytes as the lengths add up to.
#[no_mangle]
pub unsafe extern "C" fn taktwatch_do(
    engine: *mut Engine,
    verb: i32,
    texts: *const u8,
    line: usize,
    station: usize,
    name: usize,
    one: i64,
    other: i64,
) -> i32 {
    let bytes = from_raw_parts(texts, line + station + name);
    guarded(|| {
        let engine = &mut *engine;
        let text = |from: usize, length: usize| from_utf8(&bytes[from..from + length]).ok();
        let (line, station, name) = (text(0, line)?, text(line, station)?, text(line + station, name)?);
        match verb {
            verb::WRITE_DOWN => engine.write_down(line, station)?,
            verb::END => engine.end(line, station)?,
            verb::CLAIM_BOARD => engine.claim_board(line, station, name, one)?,
            verb::CLAIM_SERIAL => engine.claim_serial(line, station, name)?,
            verb::FORGET => engine.forget(line, station, one, other)?,
            verb::FRESH_ROWS => engine.rows(line, station, false)?,
            verb::ALL_ROWS => engine.rows(line, station, true)?,
            verb::SEAL => engine.seal(),
            verb::TAKEN => engine.taken(),
            verb::VERDICTS => engine.verdicts(),
            verb::COUNT => engine.count(),
            _ => return None,
        }
        Some(())
    })
}

/// A panic must not cross into Python: the engine is then broken, and its owner gives up.
fn guarded(work: impl FnOnce() -> Option<()>) -> i32 {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Some(())) => DONE,
        Ok(None) => NONE,
        Err(_) => BROKEN,
    }
}
