//! A result or a mark as msgspec writes it: compact JSON, of which the fold wants a fifth.
//!
//! Whatever is spelled in another way (blanks, escapes in what is wanted, other times, numbers in other forms) gives
//! None: it may be right, but it is for Python to say so.

use crate::time;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Pass,
    Fail,
    Review,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Review => "review",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "pass" => Some(Verdict::Pass),
            "fail" => Some(Verdict::Fail),
            "review" => Some(Verdict::Review),
            _ => None,
        }
    }
}

/// An inspected picture; `reasons` and names are free of escapes, so their JSON is their text.
#[derive(Debug)]
pub struct Picture<'a> {
    pub line: &'a str,
    pub station: &'a str,
    pub product: &'a str,
    pub session: &'a str,
    pub seq: i64,
    pub visit: i64,
    pub event_us: i64,
    pub received_us: i64,
    pub judged_us: i64,
    pub lot: Option<&'a str>,
    pub serial: Option<&'a str>,
    pub verdict: Verdict,
    pub opportunities: i64,
    pub reasons: Vec<&'a str>,
    pub detections: Vec<(&'a str, f64)>,
}

/// What ingest says of an open session.
#[derive(Debug)]
pub struct Mark<'a> {
    pub line: &'a str,
    pub station: &'a str,
    pub session: &'a str,
    pub product: &'a str,
    pub author: &'a str,
    pub last_seq: i64,
    pub time_us: i64,
}

const MOST_FRAMES: i64 = 1 << 53;
const MOST_OPPORTUNITIES: i64 = 1_000_000_000;
const LONGEST_LATENCY_US: i64 = 3650 * 86_400 * 1_000_000;
const DEEPEST: u32 = 32;

/// An ordinary result: inspected, no piece of a panel, no layers, every number in range.
///
/// `model`: the bytes that the result before had for its model. Most results have the same, and equal bytes are no
/// less JSON than they were then.
pub fn picture<'a>(bytes: &'a [u8], model: &mut Vec<u8>) -> Option<Picture<'a>> {
    let mut scan = Scan { bytes, at: 0 };
    let (mut line, mut station, mut product, mut session, mut view) = (None, None, None, None, None);
    let (mut seq, mut visit, mut um_per_px, mut opportunities) = (None, None, None, 0);
    let (mut event_us, mut received_us, mut judged_us) = (None, None, None);
    let (mut lot, mut serial, mut verdict, mut tagged, mut inspected) = (None, None, None, false, false);
    let (mut reasons, mut detections) = (Vec::new(), Vec::new());
    scan.expect(b'{')?;
    loop {
        match scan.key()? {
            b"type" => tagged = scan.string()? == b"inspection_result",
            b"line" => line = Some(scan.text()?),
            b"station" => station = Some(scan.text()?),
            b"product" => product = Some(scan.text()?),
            b"session" => session = Some(scan.text()?),
            b"view" => view = Some(scan.text()?),
            b"seq" => seq = Some(scan.int()?),
            b"visit" => visit = Some(scan.int()?),
            b"event_at" => event_us = Some(time::parse(scan.string()?)?),
            b"received_at" => received_us = Some(time::parse(scan.string()?)?),
            b"inspected_at" => judged_us = Some(time::parse(scan.string()?)?),
            b"outcome" => inspected = scan.string()? == b"inspected",
            b"um_per_px" => um_per_px = Some(scan.number()?),
            b"lot" => lot = scan.optional_text()?,
            b"serial" => serial = scan.optional_text()?,
            b"verdict" => verdict = scan.optional_text()?,
            b"opportunities" => opportunities = scan.int()?,
            b"reasons" => reasons = scan.texts()?,
            b"detections" => detections = scan.detections()?,
            b"layers" => scan.empty_array()?,
            b"tile" => scan.null()?,
            b"model" if scan.is_object(model) => scan.at += model.len(),
            b"model" => {
                let start = scan.at;
                scan.skip(0)?;
                model.clear();
                model.extend_from_slice(&bytes[start..scan.at]);
            }
            _ => scan.skip(0)?,
        }
        if !scan.more(b'}')? {
            break;
        }
    }
    view?;
    um_per_px?;
    let verdict = match verdict {
        None => Verdict::Review,
        Some(name) => Verdict::from_name(name)?,
    };
    let found = Picture {
        line: line?,
        station: station?,
        product: product?,
        session: session?,
        seq: seq?,
        visit: visit?,
        event_us: event_us?,
        received_us: received_us?,
        judged_us: judged_us?,
        lot,
        serial,
        verdict,
        opportunities,
        reasons,
        detections,
    };
    let in_time = |us: i64| (time::EARLIEST_US..time::LATEST_US).contains(&us);
    let plain = tagged
        && inspected
        && scan.at == bytes.len()
        && in_time(found.event_us)
        && in_time(found.received_us)
        && in_time(found.judged_us)
        && (0..=LONGEST_LATENCY_US).contains(&(found.judged_us - found.received_us))
        && (0..=MOST_FRAMES).contains(&found.seq)
        && (0..=MOST_OPPORTUNITIES).contains(&found.opportunities)
        && found.detections.iter().all(|(_, score)| (0.0..=1.0).contains(score));
    if plain {
        Some(found)
    } else {
        None
    }
}

/// An ordinary mark: the session is open.
pub fn mark(bytes: &[u8]) -> Option<Mark<'_>> {
    let mut scan = Scan { bytes, at: 0 };
    let (mut line, mut station, mut product, mut session) = (None, None, None, None);
    let (mut last_seq, mut time_us, mut author, mut tagged, mut open) = (None, None, "ingest", false, false);
    scan.expect(b'{')?;
    loop {
        match scan.key()? {
            b"type" => tagged = scan.string()? == b"station_mark",
            b"line" => line = Some(scan.text()?),
            b"station" => station = Some(scan.text()?),
            b"product" => product = Some(scan.text()?),
            b"session" => session = Some(scan.text()?),
            b"author" => author = scan.text()?,
            b"last_seq" => last_seq = Some(scan.int()?),
            b"time" => time_us = Some(time::parse(scan.string()?)?),
            b"state" => open = scan.string()? == b"open",
            _ => scan.skip(0)?,
        }
        if !scan.more(b'}')? {
            break;
        }
    }
    let found = Mark {
        line: line?,
        station: station?,
        session: session?,
        product: product?,
        author,
        last_seq: last_seq?,
        time_us: time_us?,
    };
    let plain = tagged
        && open
        && scan.at == bytes.len()
        && (time::EARLIEST_US..time::LATEST_US).contains(&found.time_us)
        && (-1..=MOST_FRAMES).contains(&found.last_seq);
    if plain {
        Some(found)
    } else {
        None
    }
}

/// Whether a text cannot stand in JSON as it is.
pub fn wants_escapes(text: &str) -> bool {
    text.bytes().any(|byte| byte == b'"' || byte == b'\\' || byte < 0x20)
}

/// Where in the JSON reading is. Every method gives None for what is not as expected.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        if self.peek()? == byte {
            self.at += 1;
            Some(())
        } else {
            None
        }
    }

    /// The key of an object's next member, and the colon behind it.
    #[inline]
    fn key(&mut self) -> Option<&'a [u8]> {
        let key = self.string()?;
        self.expect(b':')?;
        Some(key)
    }

    /// Whether another member comes; else the object or array ends with `close`.
    #[inline]
    fn more(&mut self, close: u8) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            byte if byte == close => Some(false),
            _ => None,
        }
    }

    /// Whether exactly this object comes next: it says itself where it ends.
    fn is_object(&self, object: &[u8]) -> bool {
        object.first() == Some(&b'{') && self.bytes[self.at..].starts_with(object)
    }

    /// A string of ASCII without escapes.
    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        let (text, plain) = self.quoted()?;
        if plain {
            Some(text)
        } else {
            None
        }
    }

    /// A string without escapes, of any letters.
    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        let (text, plain) = self.quoted()?;
        if plain {
            // SAFETY: every byte was seen to be ASCII
            return Some(unsafe { std::str::from_utf8_unchecked(text) });
        }
        if text.contains(&b'\\') {
            return None;
        }
        std::str::from_utf8(text).ok()
    }

    #[inline]
    fn optional_text(&mut self) -> Option<Option<&'a str>> {
        if self.peek()? == b'n' {
            self.null()?;
            return Some(None);
        }
        self.text().map(Some)
    }

    /// What stands between quotes, and whether all of it is ASCII without escapes.
    #[inline(always)]
    fn quoted(&mut self) -> Option<(&'a [u8], bool)> {
        self.expect(b'"')?;
        let start = self.at;
        let end = next_special(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Some((&self.bytes[start..end], true));
        }
        self.quoted_on(start, end)
    }

    /// The same, of a string that begins at `start` and has something special at `at`.
    #[cold]
    fn quoted_on(&mut self, start: usize, at: usize) -> Option<(&'a [u8], bool)> {
        self.at = at;
        loop {
            match self.peek()? {
                b'"' => {
                    let text = &self.bytes[start..self.at];
                    self.at += 1;
                    return Some((text, false));
                }
                b'\\' => {
                    self.at += 1;
                    if !b"\"\\/bfnrt".contains(&self.peek()?) {
                        return None; // \u: with surrogates, for Python
                    }
                    self.at += 1;
                }
                0..=0x1f => return None,
                _ => self.at += 1,
            }
            self.at = next_special(self.bytes, self.at);
        }
    }

    fn null(&mut self) -> Option<()> {
        self.word(b"null")
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        if self.bytes.get(self.at..self.at + word.len())? == word {
            self.at += word.len();
            Some(())
        } else {
            None
        }
    }

    fn empty_array(&mut self) -> Option<()> {
        self.word(b"[]")
    }

    /// A number's text, and whether it is an integer.
    fn digits(&mut self) -> Option<(&'a str, bool)> {
        let start = self.at;
        let mut whole = true;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.run_of_digits()?,
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.run_of_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.run_of_digits()?;
        }
        // SAFETY: digits, points, signs and exponents are ASCII
        Some((unsafe { std::str::from_utf8_unchecked(&self.bytes[start..self.at]) }, whole))
    }

    fn run_of_digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start {
            Some(())
        } else {
            None
        }
    }

    fn int(&mut self) -> Option<i64> {
        match self.digits()? {
            (text, true) => text.parse().ok(),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<f64> {
        let number: f64 = self.digits()?.0.parse().ok()?;
        if number.is_finite() {
            Some(number)
        } else {
            None
        }
    }

    fn texts(&mut self) -> Option<Vec<&'a str>> {
        self.expect(b'[')?;
        let mut texts = Vec::new();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(texts);
        }
        loop {
            texts.push(self.text()?);
            if !self.more(b']')? {
                return Some(texts);
            }
        }
    }

    fn detections(&mut self) -> Option<Vec<(&'a str, f64)>> {
        self.expect(b'[')?;
        let mut found = Vec::new();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(found);
        }
        loop {
            self.expect(b'{')?;
            let (mut label, mut score) = (None, None);
            loop {
                match self.key()? {
                    b"class" => label = Some(self.text()?),
                    b"score" => score = Some(self.number()?),
                    _ => self.skip(0)?,
                }
                if !self.more(b'}')? {
                    break;
                }
            }
            found.push((label?, score?));
            if !self.more(b']')? {
                return Some(found);
            }
        }
    }

    /// Reads over any value.
    fn skip(&mut self, depth: u32) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'"' => {
                let (text, plain) = self.quoted()?;
                if plain || std::str::from_utf8(text).is_ok() {
                    Some(())
                } else {
                    None
                }
            }
            b'{' => {
                self.at += 1;
                if self.peek()? == b'}' {
                    self.at += 1;
                    return Some(());
                }
                loop {
                    self.key()?;
                    self.skip(depth + 1)?;
                    if !self.more(b'}')? {
                        return Some(());
                    }
                }
            }
            b'[' => {
                self.at += 1;
                if self.peek()? == b']' {
                    self.at += 1;
                    return Some(());
                }
                loop {
                    self.skip(depth + 1)?;
                    if !self.more(b']')? {
                        return Some(());
                    }
                }
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.null(),
            _ => self.digits().map(|_| ()),
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The place of the next quote, backslash, control character or byte beyond ASCII; the end where there is none.
#[inline(always)]
fn next_special(bytes: &[u8], at: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        };
        let mut at = at;
        while let Some(chunk) = bytes.get(at..at + 16) {
            // SAFETY: SSE2 is part of x86-64, and 16 bytes are there; signed, bytes beyond ASCII are below 0x20, too
            let found = unsafe {
                let chunk = _mm_loadu_si128(chunk.as_ptr().cast::<__m128i>());
                let quote = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'"' as i8));
                let slash = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'\\' as i8));
                let below = _mm_cmplt_epi8(chunk, _mm_set1_epi8(0x20));
                _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), below))
            };
            if found != 0 {
                return at + found.trailing_zeros() as usize;
            }
            at += 16;
        }
        next_special_of_few(bytes, at)
    }
    #[cfg(not(target_arch = "x86_64"))]
    next_special_of_few(bytes, at)
}

/// The same, eight bytes at a time (the borrow of a difference marks bytes below a bound).
fn next_special_of_few(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap());
        let below = |value: u64| value.wrapping_sub(ONES) & !value;
        let quote = below(word ^ (ONES * u64::from(b'"')));
        let slash = below(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quote | slash | control | word) & TOPS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'"' || byte == b'\\' || !(0x20..0x80).contains(&byte) {
            return at;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = concat!(
        r#"{"type":"inspection_result","frame_id":"0a","line":"line-1","station":"top","product":"board","view":"top","#,
        r#""session":"s1","seq":7,"visit":2,"event_at":"2026-03-03T06:00:00Z","taken_at":"2026-03-03T06:00:00Z","#,
        r#""received_at":"2026-03-03T06:00:00.004000Z","inspected_at":"2026-03-03T06:00:00.130000Z","#,
        r#""outcome":"inspected","sha256":"00","um_per_px":20.8,"serial":"SN-7","place":{"topic":"t","partition":1,"#,
        r#""offset":9},"verdict":"fail","reasons":["an open at (3, 4)","größer"],"detections":[{"class":"open","#,
        r#""score":0.93,"box_px":[1.5,-2e3,3,4],"mask":{"size":[6,4],"counts":"a\\b\"c"}}],"opportunities":250,"#,
        r#""timings_us":{},"doubts":[]}"#
    );

    #[test]
    fn what_is_wanted_is_read_and_the_rest_is_skipped() {
        let found = picture(WHOLE.as_bytes(), &mut Vec::new()).unwrap();
        assert_eq!((found.line, found.station, found.product, found.session), ("line-1", "top", "board", "s1"));
        assert_eq!((found.seq, found.visit, found.opportunities), (7, 2, 250));
        assert_eq!(found.judged_us - found.received_us, 126_000);
        assert_eq!((found.lot, found.serial, found.verdict), (None, Some("SN-7"), Verdict::Fail));
        assert_eq!(found.reasons, ["an open at (3, 4)", "größer"]);
        assert_eq!(found.detections, [("open", 0.93)]);
    }

    #[test]
    fn what_is_not_whole_or_not_ordinary_is_left_alone() {
        for end in 0..WHOLE.len() {
            assert!(picture(&WHOLE.as_bytes()[..end], &mut Vec::new()).is_none(), "{end}");
        }
        for (old, new) in [
            ("\"inspected\"", "\"skipped\""),
            ("\"seq\":7", "\"seq\":-7"),
            ("\"seq\":7", "\"seq\":7.0"),
            ("\"seq\":7", "\"seq\":07"),
            ("0.93", "1.93"),
            ("0.93", "NaN"),
            ("board", "bo\\u0041rd"),
            ("\"seq\":7", "\"seq\": 7"),
            ("00.130000Z", "00.130000+00:00"),
            ("00.130000Z", "00.003000Z"),
            ("\"doubts\":[]", "\"doubts\":[1,]"),
            ("\"doubts\":[]", "\"tile\":{}"),
            ("\"verdict\":\"fail\"", "\"verdict\":\"maybe\""),
        ] {
            assert!(WHOLE.contains(old));
            assert!(picture(WHOLE.replace(old, new).as_bytes(), &mut Vec::new()).is_none(), "{new}");
        }
        let broken = WHOLE.as_bytes().iter().map(|b| if *b == b'g' { 0xff } else { *b }).collect::<Vec<_>>();
        assert!(picture(&broken, &mut Vec::new()).is_none());
    }

    #[test]
    fn a_model_is_known_again_by_its_bytes_alone() {
        let mut model = Vec::new();
        let with = |text: &str| WHOLE.replace("\"timings_us\":{}", &format!("\"model\":{text}"));
        assert!(picture(with(r#"{"name":"a","id":[1]}"#).as_bytes(), &mut model).is_some());
        assert_eq!(model, br#"{"name":"a","id":[1]}"#);
        assert!(picture(with(r#"{"name":"a","id":[1]}"#).as_bytes(), &mut model).is_some());
        for broken in [r#"{"name":"a","id":[1]}}"#, r#"{"name":"a","id":[1],}"#, r#"{"name":"a","id":[1]}5"#] {
            assert!(picture(with(broken).as_bytes(), &mut model).is_none(), "{broken}");
        }
        assert!(picture(with("null").as_bytes(), &mut model).is_some());
        assert!(picture(with("nullnull").as_bytes(), &mut model).is_none());
    }

    #[test]
    fn no_byte_anywhere_makes_it_fail() {
        let mut model = Vec::new();
        for place in 0..WHOLE.len() {
            for byte in *b"\"\\{}[],:0-.eE \x00\x1f\x7f\x80\xffn" {
                let mut bytes = WHOLE.as_bytes().to_vec();
                bytes[place] = byte;
                picture(&bytes, &mut model);
                bytes.remove(place);
                picture(&bytes, &mut model);
                mark(&bytes);
            }
        }
    }

    #[test]
    fn specials_are_found_wherever_they_are() {
        for special in [b'"', b'\\', 0u8, 0x1f, 0x80, 0xff] {
            for place in 0..40 {
                let mut bytes = vec![b'a'; 41];
                bytes[place] = special;
                for start in 0..=place {
                    assert_eq!(next_special(&bytes, start), place, "{special} at {place} from {start}");
                }
                assert_eq!(next_special(&bytes, place + 1), 41);
            }
        }
    }

    #[test]
    fn marks_are_read() {
        let bytes = concat!(
            r#"{"type":"station_mark","line":"l","station":"s","session":"a","product":"p","last_seq":-1,"#,
            r#""time":"2026-03-03T06:00:01Z","state":"open"}"#
        );
        let found = mark(bytes.as_bytes()).unwrap();
        assert_eq!((found.author, found.last_seq), ("ingest", -1));
        assert!(mark(bytes.replace("open", "closed").as_bytes()).is_none());
    }
}
