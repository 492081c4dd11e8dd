//! The slots of a cluster: which one a key is in.

/// How many there are.
pub(crate) const SLOTS: usize = 1 << 14;

/// The slot of a key. If the key has braces with something between them, that alone decides.
pub(crate) fn slot_of(key: &[u8]) -> usize {
    let place_of = |byte, part: &[u8]| part.iter().position(|it| *it == byte);
    let tag = place_of(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        place_of(b'}', rest).map(|end| &rest[..end])
    });
    let counts = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    usize::from(crc16(counts)) % SLOTS
}

/// CRC-16/XMODEM: the polynomial 0x1021, from 0, the highest bit first.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let [high, low] = crc.to_be_bytes();
        OF_BYTES[usize::from(high ^ byte)] ^ (u16::from(low) << 8)
    })
}

/// The CRC of each single byte.
const OF_BYTES: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// A number for each slot whose digits are in it, the least: between braces, it puts a key there.
pub(crate) fn numbers() -> Box<[u32]> {
    let mut numbers = vec![None; SLOTS];
    let mut missing = SLOTS;
    for number in 0u32.. {
        let place = &mut numbers[slot_of(number.to_string().as_bytes())];
        if place.is_none() {
            *place = Some(number);
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    numbers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::{SLOTS, crc16, numbers, slot_of};

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), usize::from(crc16(b"foo{}{bar}")) % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"a}b{c"), usize::from(crc16(b"a}b{c")) % SLOTS);
    }

    #[test]
    fn each_slot_has_its_number() {
        let numbers = numbers();
        assert_eq!(numbers.len(), SLOTS);
        for (slot, number) in numbers.iter().enumerate() {
            assert_eq!(slot_of(format!("coeval:load:{{{number}}}a{{b}}").as_bytes()), slot);
        }
    }
}
