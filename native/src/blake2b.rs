//! BLAKE2b with a digest of 16 bytes, unkeyed (RFC 7693): the ids of frames and boards are made of it.

const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

const SIGMA: [[usize; 16]; 12] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
];

const BLOCK: usize = 128;

/// What was hashed so far; copied for each id of a session, whose names they all begin with.
#[derive(Clone)]
pub struct Blake2b {
    state: [u64; 8],
    block: [u8; BLOCK],
    filled: usize,
    total: u128,
}

impl Blake2b {
    pub fn new() -> Self {
        let mut state = IV;
        state[0] ^= 0x0101_0000 ^ 16; // no key, fan-out and depth 1, 16 bytes of digest
        Blake2b { state, block: [0; BLOCK], filled: 0, total: 0 }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == BLOCK {
                self.total += BLOCK as u128;
                self.compress(false);
                self.filled = 0;
            }
            let taken = bytes.len().min(BLOCK - self.filled);
            self.block[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
        }
    }

    /// The digest in lower-case hexadecimal.
    pub fn hex(mut self) -> [u8; 32] {
        self.total += self.filled as u128;
        self.block[self.filled..].fill(0);
        self.compress(true);
        let mut out = [0; 32];
        for (index, byte) in self.state[0].to_le_bytes().iter().chain(&self.state[1].to_le_bytes()).enumerate() {
            out[2 * index] = HEX[(byte >> 4) as usize];
            out[2 * index + 1] = HEX[(byte & 15) as usize];
        }
        out
    }

    fn compress(&mut self, last: bool) {
        let mut m = [0u64; 16];
        for (word, bytes) in m.iter_mut().zip(self.block.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap());
        }
        let mut v = [0u64; 16];
        v[..8].copy_from_slice(&self.state);
        v[8..].copy_from_slice(&IV);
        v[12] ^= self.total as u64;
        v[13] ^= (self.total >> 64) as u64;
        if last {
            v[14] = !v[14];
        }
        for s in &SIGMA {
            mix(&mut v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
            mix(&mut v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
            mix(&mut v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
            mix(&mut v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
            mix(&mut v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
            mix(&mut v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
            mix(&mut v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
            mix(&mut v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
        }
        for index in 0..8 {
            self.state[index] ^= v[index] ^ v[index + 8];
        }
    }
}

impl Default for Blake2b {
    fn default() -> Self {
        Self::new()
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[inline(always)]
fn mix(v: &mut [u64; 16], a: usize, b: usize, c: usize, d: usize, x: u64, y: u64) {
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
    v[d] = (v[d] ^ v[a]).rotate_right(32);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(24);
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
    v[d] = (v[d] ^ v[a]).rotate_right(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(63);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_hashlib() {
        // hashlib.blake2b(b"abc", digest_size=16).hexdigest()
        let mut hash = Blake2b::new();
        hash.update(b"abc");
        assert_eq!(&hash.hex(), b"cf4ab791c62b8d2b2109c90275287816");
        let mut hash = Blake2b::new();
        for _ in 0..300 {
            hash.update(b"x");
        }
        // hashlib.blake2b(b"x" * 300, digest_size=16).hexdigest()
        assert_eq!(&hash.hex(), b"c2f093e41879e412280bfcc0ed6533e4");
    }
}
