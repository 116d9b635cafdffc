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
#[repr(i32)]
enum Verb {
    WriteDown = 0,
    End = 1,
    ClaimBoard = 2,
    ClaimSerial = 3,
    Forget = 4,
    FreshRows = 5,
    AllRows = 6,
    Seal = 7,
    Taken = 8,
    Verdicts = 9,
    Count = 10,
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
            v if v == Verb::WriteDown as i32 => engine.write_down(line, station),
            v if v == Verb::End as i32 => engine.end(line, station),
            v if v == Verb::ClaimBoard as i32 => engine.claim_board(line, station, name, one),
            v if v == Verb::ClaimSerial as i32 => engine.claim_serial(line, station, name),
            v if v == Verb::Forget as i32 => engine.forget(line, station, one, other),
            v if v == Verb::FreshRows as i32 => engine.rows(line, station, false),
            v if v == Verb::AllRows as i32 => engine.rows(line, station, true),
            v if v == Verb::Seal as i32 => {
                engine.seal();
                Some(())
            }
            v if v == Verb::Taken as i32 => {
                engine.taken();
                Some(())
            }
            v if v == Verb::Count as i32 => {
                engine.count();
                Some(())
            }
            v if v == Verb::Verdicts as i32 => {
                engine.verdicts();
                Some(())
            }
            _ => None,
        }
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
