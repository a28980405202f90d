// SPDX-License-Identifier: GPL-2.0

//! The kernel's image and the module's object, at addresses that a program can use.

use std::{
    collections::HashMap,
    fs,
    path::Path, //
};

use anyhow::{
    bail,
    ensure,
    Context,
    Result, //
};
use object::{
    elf,
    read::elf::ElfFile64,
    Endianness,
    Object,
    ObjectSection,
    ObjectSegment,
    ObjectSymbol,
    RelocationFlags,
    RelocationTarget,
    SectionFlags,
    SymbolSection, //
};

use crate::{
    machine::PAGE_SIZE,
    memory::Area,
    patch::{
        self,
        Sites, //
    },
};

/// Where the kernel comes to lie. Its code is built for addresses of 32 bits that are sign-extended, so it must end
/// below 2 GiB.
const BASE: u64 = 0x1000_0000;

/// Room for the module behind the kernel.
const MODULE_BYTES: u64 = 4 << 20;

/// The kernel and the module, ready to be called.
pub(crate) struct Image {
    area: Area,
    symbols: HashMap<String, u64>,
    /// Address and length of the per-CPU variables of the kernel, and of the module.
    percpu: [(u64, usize); 2],
}

type Elf<'a> = ElfFile64<'a, Endianness>;

impl Image {
    /// Loads the kernel from the uncompressed image `vmlinux` and the symbols of `kallsyms`, and then the object of the
    /// module. `instead` holds functions that replace those of the kernel for the module.
    pub(crate) fn load(
        vmlinux: &Path,
        kallsyms: &Path,
        module: &Path,
        instead: &[(&str, u64)],
    ) -> Result<Self> {
        let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        let (vmlinux, module) = (read(vmlinux)?, read(module)?);
        let kernel = Elf::parse(&*vmlinux)?;
        let first = kernel.segments().map(|segment| segment.address()).min();
        let first = first.context("the image has no segments")?;
        let end = kernel
            .segments()
            .map(|s| s.address() + s.size())
            .max()
            .unwrap_or(first);
        let end = BASE + (end - first).next_multiple_of(1 << 16);
        ensure!(end + MODULE_BYTES < 1 << 31, "the kernel is too large");
        let mut image = Self {
            area: Area::fixed(BASE, (end + MODULE_BYTES - BASE) as usize)?,
            symbols: HashMap::new(),
            percpu: [(end, 0); 2],
        };
        let moved = BASE.wrapping_sub(first);
        image.load_kernel(&kernel, &vmlinux, moved)?;
        image.read_kallsyms(&fs::read_to_string(kallsyms)?, moved)?;
        let start = image.symbol("__per_cpu_start")?;
        image.percpu[0] = (start, (image.symbol("__per_cpu_end")? - start) as usize);
        let sites = image.kernel_sites(&kernel, moved)?;
        patch::apply(&mut image.area, &sites)?;

        let mut end = end;
        for (name, addr) in instead {
            let code = trampoline(*addr);
            image.area.bytes(end, code.len())?.copy_from_slice(&code);
            image.symbols.insert((*name).to_owned(), end);
            end += code.len() as u64;
        }
        let sites = image.load_module(&Elf::parse(&*module)?, end)?;
        patch::apply(&mut image.area, &sites)?;
        Ok(image)
    }

    /// Returns the address of a function or a variable.
    fn symbol(&self, name: &str) -> Result<u64> {
        let addr = self.symbols.get(name).copied();
        addr.with_context(|| format!("neither the kernel nor the module has {name}"))
    }

    /// Looks a function up.
    ///
    /// # Safety
    ///
    /// `F` is a pointer to a function, of the type that the function has in C or in Rust.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &str) -> Result<F> {
        const { assert!(size_of::<F>() == size_of::<usize>()) };
        let addr = self.symbol(name)? as usize;
        // SAFETY: By the contract of this function.
        Ok(unsafe { core::mem::transmute_copy(&addr) })
    }

    /// Makes the per-CPU memory of one more CPU, as a copy that lies `distance` bytes behind the memory of the first CPU.
    /// The register `gs` of a thread on that CPU holds the distance (`__per_cpu_offset`).
    pub(crate) fn add_cpu(&mut self, distance: u64) -> Result<Vec<Area>> {
        let mut areas = Vec::new();
        for (addr, len_bytes) in self.percpu {
            let from = (addr + distance) & !(PAGE_SIZE - 1);
            let end = (addr + distance + len_bytes as u64).next_multiple_of(PAGE_SIZE);
            let mut area = Area::fixed(from, (end - from) as usize)?;
            let copy = area.bytes(addr + distance, len_bytes)?;
            copy.copy_from_slice(self.area.bytes(addr, len_bytes)?);
            areas.push(area);
        }
        // The first area has the kernel's variables. On the first CPU the offset is 0.
        areas[0].add_u64(self.symbol("this_cpu_off")? + distance, distance)?;
        Ok(areas)
    }

    /// Copies the segments and relocates them, as `handle_relocations()` does
    /// (`arch/x86/boot/compressed/misc.c`).
    fn load_kernel(&mut self, kernel: &Elf<'_>, file: &[u8], moved: u64) -> Result<()> {
        for segment in kernel.segments() {
            let data = segment.data()?;
            let addr = segment.address().wrapping_add(moved);
            self.area.bytes(addr, data.len())?.copy_from_slice(data);
        }
        // The addresses stand behind the ELF file, as words of 32 bits: a zero, those of words of 64 bits, a zero,
        // those of words of 32 bits.
        let words = file
            .rchunks_exact(4)
            .map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let mut words = words.map(|word| (i64::from(word) as u64).wrapping_add(moved));
        for addr in words.by_ref().take_while(|addr| *addr != moved) {
            self.area.add_u32(addr, moved as u32)?;
        }
        for addr in words.take_while(|addr| *addr != moved) {
            self.area.add_u64(addr, moved)?;
        }
        Ok(())
    }

    /// Reads `/proc/kallsyms` of a machine that was booted with `nokaslr`. Global names win over local ones.
    fn read_kallsyms(&mut self, text: &str, moved: u64) -> Result<()> {
        let mut locals = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(addr), Some(kind), Some(name), None) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                // A fourth field names a module.
                continue;
            };
            let addr = u64::from_str_radix(addr, 16)?;
            let addr = if kind == "A" {
                addr
            } else {
                addr.wrapping_add(moved)
            };
            if kind.starts_with(|c: char| c.is_ascii_lowercase()) {
                locals.insert(name.to_owned(), addr);
            } else {
                self.symbols.insert(name.to_owned(), addr);
            }
        }
        for (name, addr) in locals {
            self.symbols.entry(name).or_insert(addr);
        }
        Ok(())
    }

    fn kernel_sites(&mut self, kernel: &Elf<'_>, moved: u64) -> Result<Sites> {
        let section = |name: &str| -> Result<(u64, usize)> {
            let section = kernel.section_by_name(name);
            let section = section.with_context(|| format!("the kernel has no section {name}"))?;
            Ok((
                section.address().wrapping_add(moved),
                section.size() as usize,
            ))
        };
        let start = self.symbol("__start_mcount_loc")?;
        let mcount = (start, (self.symbol("__stop_mcount_loc")? - start) as usize);
        Ok(Sites {
            alternatives: section(".altinstructions")?,
            returns: section(".return_sites")?,
            mcount,
        })
    }

    /// Copies the sections of the module that a loaded module has, and relocates them, as `apply_relocate_add()` does
    /// (`arch/x86/kernel/module.c`).
    fn load_module(&mut self, module: &Elf<'_>, base: u64) -> Result<Sites> {
        let mut next = base;
        let mut sections = HashMap::new();
        let mut by_name = HashMap::new();
        for section in module.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else {
                continue;
            };
            if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            let addr = next.next_multiple_of(section.align().max(1));
            next = addr + section.size();
            let data = section.data()?;
            self.area.bytes(addr, data.len())?.copy_from_slice(data);
            sections.insert(section.index(), addr);
            by_name.insert(section.name()?.to_owned(), (addr, section.size() as usize));
        }
        for symbol in module.symbols() {
            if let SymbolSection::Section(index) = symbol.section() {
                if let (true, Some(addr)) = (symbol.is_global(), sections.get(&index)) {
                    self.symbols
                        .insert(symbol.name()?.to_owned(), addr + symbol.address());
                }
            }
        }
        for section in module.sections() {
            let Some(section_addr) = sections.get(&section.index()).copied() else {
                continue;
            };
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(index) = relocation.target() else {
                    bail!("a relocation without a symbol");
                };
                let symbol = module.symbol_by_index(index)?;
                let target = match symbol.section() {
                    SymbolSection::Section(index) => {
                        let addr = sections.get(&index).context("a symbol of no section")?;
                        addr + symbol.address()
                    }
                    SymbolSection::Undefined => self.symbol(symbol.name()?)?,
                    section => bail!("a symbol in {section:?}"),
                };
                let addr = section_addr + offset;
                let value = target.wrapping_add(relocation.addend() as u64);
                let RelocationFlags::Elf { r_type } = relocation.flags() else {
                    bail!("a relocation that is not ELF's");
                };
                match r_type {
                    elf::R_X86_64_64 => self.area.add_u64(addr, value)?,
                    elf::R_X86_64_32 | elf::R_X86_64_32S => {
                        self.area.add_u32(addr, value as u32)?
                    }
                    elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => {
                        let distance = value.wrapping_sub(addr) as i64;
                        self.area.add_u32(addr, i32::try_from(distance)? as u32)?;
                    }
                    elf::R_X86_64_PC64 => self.area.add_u64(addr, value.wrapping_sub(addr))?,
                    _ => bail!("relocation type {r_type} in {}", section.name()?),
                }
            }
        }
        let section = |name: &str| by_name.get(name).copied().unwrap_or((base, 0));
        self.percpu[1] = section(".data..percpu");
        Ok(Sites {
            alternatives: section(".altinstructions"),
            returns: section(".return_sites"),
            mcount: section("__mcount_loc"),
        })
    }
}

/// Returns code that calls a function of this program. The function lies too far away to be called, and expects the
/// stack at a multiple of 16 bytes, for which the kernel does not care.
fn trampoline(addr: u64) -> Vec<u8> {
    // push %rbp; mov %rsp, %rbp; and $-16, %rsp; movabs $addr, %rax
    let mut code = vec![0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xe4, 0xf0, 0x48, 0xb8];
    code.extend(addr.to_le_bytes());
    // call *%rax; leave; ret
    code.extend([0xff, 0xd0, 0xc9, 0xc3]);
    code
}
