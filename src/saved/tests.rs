//! The file alone: what was written is read, and what is damaged is not.

use super::*;

fn header() -> Header {
    Header { id: 0x1122_3344_5566_7788, version: 1234, saved_at: 99, schema: "é".into() }
}

/// A file of entries of growing length, of which several share a block.
fn file(entries: u8) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for entry in 0..entries {
        let encode = |mut block: Vec<u8>| {
            block.extend(vec![entry; usize::from(entry)]);
            Ok(block)
        };
        writer.entry(encode).unwrap();
    }
    let (file, count, bytes) = writer.finish().unwrap();
    assert_eq!((count, bytes), (entries.into(), file.len() as u64));
    file
}

/// The entries of a file, and what was skipped.
fn read(file: &[u8]) -> Result<(Vec<Vec<u8>>, Damage), Trouble> {
    let mut reader = Reader::new(file)?;
    assert_eq!(reader.header(), &header());
    let mut entries = Vec::new();
    while let Some(block) = reader.next_block()? {
        entries.extend(block.map(<[u8]>::to_vec));
    }
    Ok((entries, reader.damage()))
}

/// Checks that these are some of the entries of `file`, in its order.
fn assert_true(entries: &[Vec<u8>]) {
    let mut before = None;
    for entry in entries {
        assert!(entry.iter().all(|byte| usize::from(*byte) == entry.len()));
        assert!(before < Some(entry.len()));
        before = Some(entry.len());
    }
}

#[test]
fn what_was_written_is_read() {
    for count in [0, 1, 5, 60] {
        let (entries, damage) = read(&file(count)).unwrap();
        assert_eq!((entries.len(), damage), (count.into(), Damage::default()));
        assert_true(&entries);
    }
}

#[test]
fn the_bytes_are_as_specified() {
    let file = file(2);
    let mut expected = b"\x89COEVAL\n\x03\0\0\0\x02\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11".to_vec();
    expected.extend(b"\xd2\x04\0\0\0\0\0\0\x63\0\0\0\0\0\0\0\xc3\xa9");
    expected.extend(crc32fast::hash(&expected).to_le_bytes());
    let mut head = b"cvlB\x88\x77\x66\x55\x44\x33\x22\x11\0\0\0\0\x02\0\0\0\x09\0\0\0".to_vec();
    let body = b"\0\0\0\0\x01\0\0\0\x01";
    head.extend(crc32fast::hash(body).to_le_bytes());
    head.extend(crc32fast::hash(&head).to_le_bytes());
    expected.extend(head);
    expected.extend(body);
    let mut end = b"cvlE\x88\x77\x66\x55\x44\x33\x22\x11\x01\0\0\0\0\0\0\0\x08\0\0\0".to_vec();
    let body = b"\x02\0\0\0\0\0\0\0";
    end.extend(crc32fast::hash(body).to_le_bytes());
    end.extend(crc32fast::hash(&end).to_le_bytes());
    expected.extend(end);
    expected.extend(body);
    assert_eq!(file, expected);
}

#[test]
fn a_file_cut_off_at_any_byte_yields_true_entries() {
    let file = file(20);
    for length in 0..file.len() {
        match read(&file[..length]) {
            Ok((entries, damage)) => {
                assert!(damage.is_cut_off && entries.len() <= 20);
                assert_true(&entries);
            }
            Err(trouble) => assert!(length < 46, "{trouble:?} with {length} bytes"),
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_yields_true_entries_and_is_noticed() {
    let whole = file(20);
    for bit in 0..whole.len() * 8 {
        let mut file = whole.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        match read(&file) {
            Ok((entries, damage)) => {
                assert_true(&entries);
                assert_ne!(damage, Damage::default(), "bit {bit}");
                // One block is lost, and no others.
                assert!(damage.blocks <= 1 && entries.len() >= 8, "{entries:?}");
            }
            Err(trouble) => assert!(bit < 46 * 8, "{trouble:?} at bit {bit}"),
        }
    }
}

#[test]
fn groups_are_read_as_written() {
    let groups = Groups::among(vec![7, 1 << 50, 3, 7, 9, 1 << 50, 7]);
    assert_eq!(groups, [(7, 3), (1 << 50, 2)]);
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    writer.groups(&groups).unwrap();
    writer.entry(|block| Ok([block, vec![1]].concat())).unwrap();
    let file = writer.finish().unwrap().0;
    let sizes = |file: &[u8]| {
        let mut reader = Reader::new(file).unwrap();
        let block = reader.next_block().unwrap().unwrap();
        let sizes = block.groups().map(|groups| {
            let near = &mut 0;
            [3, 7, 1 << 50].map(|version| groups.size(version, near))
        });
        (sizes, reader.damage().blocks)
    };
    assert_eq!(sizes(&file), (Some([1, 3, 2]), 0));
    let mut without = Reader::new(&file[..]).unwrap().without_groups();
    assert!(without.next_block().unwrap().unwrap().groups().is_none());
    assert_eq!(without.damage().blocks, 0);
    let mut broken = file.clone();
    broken[46 + HEAD] ^= 1;
    assert_eq!(sizes(&broken), (None, 1));
    for body in [&[][..], &[7], &[7, 3, 0], &[0, 3], &[0xff; 30]] {
        assert_eq!(Groups::read(body, 1), None, "{body:?}");
    }
}

/// Wherever the look-up before was.
#[test]
fn each_group_is_found_from_everywhere() {
    let all = [(2, 3), (3, 2), (5, 4), (9, 2)];
    let mut body = Vec::new();
    Groups::write(&all, &mut body);
    let groups = Groups::read(&body, 4).unwrap();
    for version in 0..12 {
        let size = all.into_iter().find(|group| group.0 == version).map_or(1, |group| group.1);
        for mut near in 0..9 {
            assert_eq!(groups.size(version, &mut near), size, "{version} from {near}");
            assert_eq!(groups.size(version, &mut near), size, "{version} from its place");
        }
    }
    assert_eq!(Groups::default().size(7, &mut 0), 1);
}

/// A value may contain a whole file, even with blocks of its own.
#[test]
fn a_file_within_an_entry_is_an_entry() {
    let inner = file(3);
    let outer = Header { id: 5, ..header() };
    let mut writer = Writer::new(Vec::new(), &outer).unwrap();
    for _ in 0..3 {
        writer.entry(|block| Ok([block, inner.clone()].concat())).unwrap();
    }
    let mut file = writer.finish().unwrap().0;
    let damaged = file.len() / 2;
    file[damaged] ^= 1;
    let mut reader = Reader::new(&file[..]).unwrap();
    let mut entries = Vec::new();
    while let Some(block) = reader.next_block().unwrap() {
        entries.extend(block.map(<[u8]>::to_vec));
    }
    assert_eq!((entries, reader.damage().blocks), (vec![inner.clone(), inner], 1));
}

/// The first block of a file may be larger than what is checked in vain: a large value, or the groups
/// of a file with very many.
#[test]
fn a_large_block_may_come_first() {
    let large = vec![7; 65 << 20];
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    writer.entry(|block| Ok([&block, &large[..]].concat())).unwrap();
    let (entries, damage) = read(&writer.finish().unwrap().0).unwrap();
    assert_eq!((entries.len(), damage), (1, Damage::default()));
    assert!(entries[0] == large);
}

/// A file of nothing but heads, each of which claims all that follows, with a wrong checksum.
#[test]
fn a_forged_file_takes_linear_time() {
    let mut file = header().to_bytes();
    let (heads, whole) = (100_000_u32, file.len());
    for number in 0..heads {
        let bytes = (heads - number - 1) * HEAD as u32;
        let head = BlockHead { kind: BlockKind::Entries, number, entries: 1, bytes, checksum: 1 };
        file.extend(head.to_bytes(header().id));
    }
    let mut reader = Reader::new(&file[..]).unwrap();
    assert!(reader.next_block().unwrap().is_none());
    let all = (file.len() - whole) as u64;
    assert!(reader.in_vain >= all, "some were checked");
    assert!(reader.in_vain <= 9 * all + (128 << 20), "{} of {all}", reader.in_vain);
}

/// In parts of any size, some of which the system is asked to write early.
#[test]
fn a_file_that_is_written_early_has_all_bytes() {
    let path = std::env::temp_dir().join(format!("coeval-early-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    let (mut early, mut all) = (EarlyFile::new(&file), Vec::new());
    for part in 0..60 {
        let bytes = vec![part; usize::from(part) * 7];
        std::io::Write::write_all(&mut early, &bytes).unwrap();
        all.extend(bytes);
    }
    early.sync_all().unwrap();
    let written = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(written == all, "{} bytes of {}", written.len(), all.len());
}

/// A cache goes on from the version of its file, so there must be numbers left.
#[test]
fn a_version_that_is_too_large_is_refused() {
    let read = |version| {
        let file = Writer::new(Vec::new(), &Header { version, ..header() });
        let (file, ..) = file.unwrap().finish().unwrap();
        Reader::new(&*file).map(|reader| reader.header().version).ok()
    };
    assert_eq!(read(MAX_VERSION), Some(MAX_VERSION));
    assert_eq!((read(MAX_VERSION + 1), read(u64::MAX)), (None, None));
}
