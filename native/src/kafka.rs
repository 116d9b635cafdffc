//! Kafka's record batches (magic 2), read where they lie.

/// A record: its place, when the bus took it, and the spans of its parts in the batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    pub offset: i64,
    pub logged_ms: i64,
    pub key: (usize, usize),
    pub value: (usize, usize),
    pub headers: (usize, usize),
    pub header_count: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// All is read; what is left of the bytes is the beginning of a batch that did not fit into the answer.
    End,
    /// A checksum or a length is wrong.
    Corrupt,
    /// Compressed, of an older form, or a control batch: for somebody else to read.
    Foreign,
}

/// Where reading is in what was fetched of a partition.
#[derive(Debug, Default)]
pub struct Cursor {
    at: usize,
    batch_start: usize,
    batch_end: usize,
    left: i32,
    base_offset: i64,
    base_ms: i64,
    append_ms: Option<i64>,
}

const HEAD: usize = 61;
const MAGIC: usize = 16;

impl Cursor {
    /// Begin with the batch at that byte.
    pub fn at(start: usize) -> Self {
        Cursor { batch_end: start, ..Cursor::default() }
    }

    /// The byte at which the batch begins that is being read: where somebody else has to go on.
    pub fn batch_start(&self) -> usize {
        self.batch_start
    }

    pub fn next(&mut self, bytes: &[u8]) -> Result<Entry, Stop> {
        while self.left == 0 {
            self.open(bytes)?;
        }
        self.left -= 1;
        self.record(bytes).ok_or(Stop::Corrupt)
    }

    fn open(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.batch_start = self.batch_end;
        let Some(batch) = bytes.get(self.batch_start..) else { return Err(Stop::End) };
        if batch.len() < HEAD {
            return Err(Stop::End);
        }
        let length = int(batch, 8, 4);
        if length < (HEAD - 12) as i64 {
            return Err(Stop::Corrupt);
        }
        let end = 12 + length as usize;
        if batch.len() < end {
            return Err(Stop::End);
        }
        if batch[MAGIC] != 2 {
            return Err(Stop::Foreign);
        }
        if crc32c(&batch[21..end]) != int(batch, 17, 4) as u32 {
            return Err(Stop::Corrupt);
        }
        let attributes = int(batch, 21, 2);
        if attributes & 0x27 != 0 {
            return Err(Stop::Foreign);
        }
        self.append_ms = if attributes & 8 != 0 { Some(int(batch, 35, 8)) } else { None };
        self.base_offset = int(batch, 0, 8);
        self.base_ms = int(batch, 27, 8);
        self.left = int(batch, 57, 4) as i32;
        if self.left < 0 {
            return Err(Stop::Corrupt);
        }
        self.at = self.batch_start + HEAD;
        self.batch_end = self.batch_start + end;
        Ok(())
    }

    fn record(&mut self, bytes: &[u8]) -> Option<Entry> {
        let mut at = self.at;
        let length = usize::try_from(varint(bytes, &mut at)?).ok()?;
        let end = at.checked_add(length)?;
        if end > self.batch_end {
            return None;
        }
        self.at = end;
        let bytes = &bytes[..end];
        at += 1; // attributes, unused
        let logged_ms = varint(bytes, &mut at)?;
        let offset = varint(bytes, &mut at)?;
        let key = span(bytes, &mut at)?;
        let value = span(bytes, &mut at)?;
        let header_count = usize::try_from(varint(bytes, &mut at)?).ok()?;
        Some(Entry {
            offset: self.base_offset + offset,
            logged_ms: self.append_ms.unwrap_or(self.base_ms + logged_ms),
            key,
            value,
            headers: (at, end),
            header_count,
        })
    }
}

/// The headers of a record, by name; None where they are not what their lengths say.
pub fn headers<'a>(bytes: &'a [u8], entry: &Entry) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    let (mut at, end) = entry.headers;
    let bytes = &bytes[..end];
    let mut found = Vec::new();
    for _ in 0..entry.header_count {
        let name = span(bytes, &mut at)?;
        let value = span(bytes, &mut at)?;
        found.push((&bytes[name.0..name.1], &bytes[value.0..value.1]));
    }
    Some(found)
}

fn int(bytes: &[u8], at: usize, len: usize) -> i64 {
    let number = bytes[at..at + len].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    match len {
        2 => i64::from(number as i16),
        4 => i64::from(number as i32),
        _ => number as i64,
    }
}

/// A zigzag varint.
#[inline]
fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

/// A length and that many bytes; a length of -1 is nothing.
#[inline]
fn span(bytes: &[u8], at: &mut usize) -> Option<(usize, usize)> {
    let length = varint(bytes, at)?;
    let start = *at;
    let end = start.checked_add(usize::try_from(length.max(0)).ok()?)?;
    if end > bytes.len() {
        return None;
    }
    *at = end;
    Some((start, end))
}

/// Records of one key on their way out, each as it stands in a batch; whoever sends them writes the batch's head.
#[derive(Default)]
pub struct Sheaf {
    pub bytes: Vec<u8>,
    pub count: i64,
}

/// A sheaf is closed when it is so large: as a producer's batches are.
pub const SHEAF_BYTES: usize = 240 * 1024;

impl Sheaf {
    /// Append a record; `headers` as a record has them, their number first.
    pub fn add(&mut self, key: &[u8], value: &[u8], headers: &[u8]) {
        let inner = 2 // attributes, and no time beyond the batch's
            + varint_bytes(self.count)
            + varint_bytes(key.len() as i64)
            + key.len()
            + varint_bytes(value.len() as i64)
            + value.len()
            + headers.len();
        put_varint(inner as i64, &mut self.bytes);
        self.bytes.extend([0, 0]);
        put_varint(self.count, &mut self.bytes);
        put_varint(key.len() as i64, &mut self.bytes);
        self.bytes.extend_from_slice(key);
        put_varint(value.len() as i64, &mut self.bytes);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(headers);
        self.count += 1;
    }
}

/// Headers as a record has them, from their names and values.
pub fn headers_of<'a>(named: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(named.len() as i64, &mut out);
    for part in named.flat_map(|(name, value)| [name, value]) {
        put_varint(part.len() as i64, &mut out);
        out.extend_from_slice(part);
    }
    out
}

fn put_varint(number: i64, out: &mut Vec<u8>) {
    let mut left = (number << 1 ^ number >> 63) as u64;
    while left > 0x7f {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn varint_bytes(number: i64) -> usize {
    let left = (number << 1 ^ number >> 63) as u64;
    (64 - (left | 1).leading_zeros() as usize).div_ceil(7)
}

/// CRC-32C (Castagnoli), by the processor where it can.
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor was just asked
        return unsafe { crc32c_sse42(bytes) };
    }
    crc32c_plain(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
unsafe fn crc32c_sse42(bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u64, _mm_crc32_u8};
    let mut crc = u64::from(u32::MAX);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        crc = _mm_crc32_u64(crc, u64::from_le_bytes(chunk.try_into().unwrap()));
    }
    let mut crc = crc as u32;
    for byte in chunks.remainder() {
        crc = _mm_crc32_u8(crc, *byte);
    }
    !crc
}

const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

fn crc32c_plain(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| crc >> 8 ^ TABLE[((crc as u8) ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283); // RFC 3720's check value
        let bytes: Vec<u8> = (0..1000).map(|n| (n * 7) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(crc32c(&bytes[..length]), crc32c_plain(&bytes[..length]));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let headers = headers_of([(&b"a"[..], &b"1"[..]), (b"bc", b"")].into_iter());
        let mut sheaf = Sheaf::default();
        for value in [&[7u8; 3][..], &[8; 200], &[9; 20_000]] {
            sheaf.add(b"line-1", value, &headers);
        }
        let mut batch = vec![0u8; HEAD];
        batch[MAGIC] = 2;
        batch[57..61].copy_from_slice(&3i32.to_be_bytes());
        batch.extend_from_slice(&sheaf.bytes);
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        let mut cursor = Cursor::at(0);
        for (offset, length) in [(0, 3), (1, 200), (2, 20_000)] {
            let entry = cursor.next(&batch).unwrap();
            assert_eq!((entry.offset, entry.value.1 - entry.value.0), (offset, length));
            assert_eq!(&batch[entry.key.0..entry.key.1], b"line-1");
            assert_eq!(super::headers(&batch, &entry).unwrap(), [(&b"a"[..], &b"1"[..]), (b"bc", b"")]);
        }
        assert_eq!(cursor.next(&batch).unwrap_err(), Stop::End);
        for number in [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_varint(number, &mut out);
            assert_eq!((varint(&out, &mut 0), out.len()), (Some(number), varint_bytes(number)));
        }
    }

    #[test]
    fn no_bytes_in_a_batch_make_it_fail() {
        let headers = headers_of([(&b"a"[..], &b"1"[..])].into_iter());
        let mut sheaf = Sheaf::default();
        for value in [&[7u8; 3][..], &[8; 20], &[9; 130]] {
            sheaf.add(b"k", value, &headers);
        }
        let mut whole = vec![0u8; HEAD];
        whole[MAGIC] = 2;
        whole[60] = 3;
        whole.extend_from_slice(&sheaf.bytes);
        whole[11] = (whole.len() - 12) as u8;
        for place in 21..whole.len() {
            for byte in [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff] {
                let mut batch = whole.clone();
                batch[place] = byte;
                let crc = crc32c(&batch[21..]);
                batch[17..21].copy_from_slice(&crc.to_be_bytes());
                let mut cursor = Cursor::at(0);
                for _ in 0..1000 {
                    let Ok(entry) = cursor.next(&batch) else { break };
                    super::headers(&batch, &entry);
                    assert!(entry.value.1 <= batch.len() && entry.key.1 <= batch.len());
                }
            }
        }
    }

    #[test]
    fn garbage_is_refused_and_never_read_beyond() {
        let mut bytes = vec![0u8; 200];
        assert_eq!(Cursor::default().next(&bytes).unwrap_err(), Stop::Corrupt);
        bytes[11] = 150;
        bytes[MAGIC] = 1;
        assert_eq!(Cursor::default().next(&bytes).unwrap_err(), Stop::Foreign);
        bytes[MAGIC] = 2;
        assert_eq!(Cursor::default().next(&bytes).unwrap_err(), Stop::Corrupt);
        let crc = crc32c(&bytes[21..162]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Cursor::default().next(&bytes).unwrap_err(), Stop::End); // no record in it, then too little
        assert_eq!(Cursor::default().next(&bytes[..40]).unwrap_err(), Stop::End);
        bytes[60] = 3; // three records, all of nothing
        let crc = crc32c(&bytes[21..162]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Cursor::default().next(&bytes).unwrap_err(), Stop::Corrupt);
    }
}
