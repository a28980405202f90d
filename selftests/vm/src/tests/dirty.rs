// SPDX-License-Identifier: GPL-2.0

//! Verify that bytes written through a handle
//!
//! - reach the disk, although the file system took the pages for clean and tried to reclaim them;
//! - are not seen by a child of the owner, which has its own memory;
//!
//! and that writing to a handle of plain references, which can promise neither, is refused.

use std::{
    fs::{
        self,
        File,
        OpenOptions, //
    },
    os::{
        fd::AsRawFd,
        unix::fs::FileExt, //
    },
    path::Path, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    Engine,
    How,
    Pinned,
    Request, //
};

use crate::harness::{
    disks::Disk,
    fixture::{
        holds,
        open,
        pattern,
        pin,
        refused,
        store,
        writable, //
    },
    memory::{
        Map,
        RW, //
    },
    process::{
        Child,
        Rendezvous, //
    },
    runner::tests, //
};

tests![
    written_to_a_file,
    file_by_plain_references,
    written_before_a_fork,
    memory_by_plain_references,
];

fn len_bytes() -> usize {
    4 * page_bytes()
}
const ENGINES: [Engine; 2] = [Engine::Rust, Engine::Kernel];

/// A clean file on a disk, mapped for writing.
struct CleanFile {
    file: File,
    map: Map,
}

impl CleanFile {
    fn on(disk: &Disk, len_bytes: usize) -> Self {
        let path = Path::new(disk.mounted).join("file");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true);
        let file = options.open(path).expect("a file");
        file.write_all_at(&pattern(0, len_bytes), 0).expect("write");
        let map = Map::new(0, len_bytes, RW, libc::MAP_SHARED, file.as_raw_fd()).expect("mmap");
        Self { file, map }
    }

    fn request(&self, how: How) -> Request {
        writable(self.map.addr, self.map.len_bytes).how(how)
    }

    /// Makes the file system write the file out, and give up as many of its pages as it can.
    fn clean(&self) {
        self.file.sync_all().expect("fsync");
        self.map.advise(0, self.map.len_bytes, libc::MADV_PAGEOUT);
    }

    /// Returns the contents of the file on the disk.
    fn read_from_disk(self) -> Vec<u8> {
        let mut found = vec![0; self.map.len_bytes];
        drop(self.map);
        self.file.sync_all().expect("fsync");
        // Drop the clean pages, so that they are read from the disk again.
        fs::write("/proc/sys/vm/drop_caches", "1").expect("drop_caches");
        self.file.read_exact_at(&mut found, 0).expect("read");
        found
    }
}

fn refuses_to_be_written_to(taken: &Pinned<'_>) {
    // SAFETY: No reference to the memory exists, and the call must not write to it anyway.
    let result = unsafe { taken.write(0, &pattern(1, len_bytes())) };
    refused(result, libc::EACCES, "WRITE by plain references");
}

fn written_to_a_file() {
    let disk = Disk::new(8 << 20);
    let device = open();
    let cases = ENGINES.map(|engine| [(engine, len_bytes()), (engine, page_bytes())]);
    for (engine, len_bytes) in cases.into_iter().flatten() {
        let file = CleanFile::on(&disk, len_bytes);
        let pinned = device.pin(&file.request(How::Pin), engine).expect("PIN");
        // From here on the file is clean, and no fault tells the file system about a write.
        file.clean();
        let new = pattern(1, len_bytes);
        store(&pinned, 0, &new);
        drop(pinned);
        assert!(
            file.read_from_disk() == new,
            "{engine:?}, {len_bytes} bytes: what was written got lost"
        );
    }
}

fn file_by_plain_references() {
    let disk = Disk::new(8 << 20);
    let device = open();
    for engine in ENGINES {
        let file = CleanFile::on(&disk, len_bytes());
        let taken = device.pin(&file.request(How::Get), engine).expect("GET");
        file.clean();
        refuses_to_be_written_to(&taken);
        holds(&taken, 0, &pattern(0, len_bytes()));
        drop(taken);
        assert!(
            file.read_from_disk() == pattern(0, len_bytes()),
            "{engine:?}"
        );
    }
}

/// Calls `write`, and lets a child that was forked before check that its own memory has not changed.
fn child_sees_nothing(map: &Map, write: impl FnOnce()) {
    let before = map.load(0, map.len_bytes);
    let (ours, theirs) = Rendezvous::pair();
    let child = Child::run(|| {
        theirs.wait();
        assert!(map.load(0, map.len_bytes) == before, "the child's memory");
    });
    write();
    ours.signal();
    child.join();
}

fn written_before_a_fork() {
    let device = open();
    for how in [How::Pin, How::LongTerm] {
        let map = Map::anon(4);
        map.fill(3);
        let pinned = pin(&device, &writable(map.addr, len_bytes()).how(how));
        child_sees_nothing(&map, || store(&pinned, 0, &pattern(4, len_bytes())));
        assert!(
            map.load(0, len_bytes()) == pattern(4, len_bytes()),
            "the owner sees it"
        );
    }
}

fn memory_by_plain_references() {
    let device = open();
    let map = Map::anon(4);
    map.fill(3);
    let taken = pin(&device, &writable(map.addr, len_bytes()).how(How::Get));
    child_sees_nothing(&map, || refuses_to_be_written_to(&taken));
    holds(&taken, 0, &map.load(0, len_bytes()));
}
