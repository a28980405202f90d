// SPDX-License-Identifier: GPL-2.0

//! Verify that what is written through a handle reaches the disk, although the file system took the pages for clean.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rust_gup_uapi::How;

use crate::dma::Disk;
use crate::fixture::{open, pattern, pin, store, writable, PAGE};
use crate::memory::{Map, RW};
use crate::runner::tests;

tests![written_to_a_file];

const LEN: usize = 4 * PAGE;

fn written_to_a_file() {
    let disk = Disk::new(8 << 20);
    let device = open();
    for how in [How::Get, How::Pin] {
        let path = Path::new(disk.mounted).join("file");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true);
        let file = options.open(path).expect("a file");
        file.write_all_at(&pattern(0, LEN), 0).expect("write");
        let map = Map::new(0, LEN, RW, libc::MAP_SHARED, file.as_raw_fd()).expect("mmap");
        let pinned = pin(&device, &writable(map.addr, LEN).how(how));
        // From here on the file system is told of no write.
        file.sync_all().expect("fsync");
        let new = pattern(1, LEN);
        store(&pinned, 0, &new);
        drop(pinned);
        drop(map);
        file.sync_all().expect("fsync");
        // Clean pages are forgotten, and read again.
        fs::write("/proc/sys/vm/drop_caches", "1").expect("drop_caches");
        let mut found = vec![0; LEN];
        file.read_exact_at(&mut found, 0).expect("read");
        assert!(found == new, "{how:?}: what was written got lost");
    }
}
