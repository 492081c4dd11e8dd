//! Lets the system write a file to the disk while its end is still to come. Otherwise Linux begins
//! with most of it only when the file is flushed, after all of the processor's work.

use std::fs::File;
use std::io::{self, Write};

/// The number of bytes that the system is asked to write at a time.
const PART: u64 = if cfg!(test) { 100 } else { 8 << 20 };

/// Writes to a new file.
pub struct EarlyFile<'f> {
    file: &'f File,
    written: u64,
    /// How much of that the system was asked to write to the disk.
    asked: u64,
}

impl<'f> EarlyFile<'f> {
    /// Begins at the start of the file.
    pub fn new(file: &'f File) -> Self {
        Self { file, written: 0, asked: 0 }
    }

    /// Flushes all of it to the disk.
    pub fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Write for EarlyFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        if self.written - self.asked >= PART {
            ask(self.file, self.asked, self.written - self.asked);
            self.asked = self.written;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Asks the system to write these bytes of a file. A hint: whether it does so shows when the file is
/// flushed.
#[cfg(target_os = "linux")]
fn ask(file: &File, from: u64, bytes: u64) {
    use std::os::fd::AsRawFd;
    let (from, bytes) = (from as libc::off64_t, bytes as libc::off64_t);
    // SAFETY: the call takes no memory of this process, and the file is open.
    unsafe { libc::sync_file_range(file.as_raw_fd(), from, bytes, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
fn ask(_: &File, _: u64, _: u64) {}
