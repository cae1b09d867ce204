//! The instructions of the pause program, assembled for the architecture that this program is built for.
#![allow(unsafe_code)]

use std::arch::global_asm;

// Position-independent, no stack, no data that is written. It lets the kernel reap children (SIGCHLD ignored), blocks
// SIGTERM and SIGINT and waits for one of them: as process 1 of its namespace it would never be killed by a signal
// without that. Then it exits with status 0.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .rodata.naru_pause, \"a\"",
    ".balign 16",
    ".global naru_pause_begin",
    "naru_pause_begin:",
    "mov eax, 13", // rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8)
    "mov edi, 17",
    "lea rsi, [rip + 4f]",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "mov eax, 14", // rt_sigprocmask(SIG_BLOCK, {SIGINT, SIGTERM}, NULL, 8)
    "xor edi, edi",
    "lea rsi, [rip + 5f]",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "3:",
    "mov eax, 128", // rt_sigtimedwait({SIGINT, SIGTERM}, NULL, NULL, 8)
    "lea rdi, [rip + 5f]",
    "xor esi, esi",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "test eax, eax",
    "js 3b",
    "mov eax, 231", // exit_group(0)
    "xor edi, edi",
    "syscall",
    ".balign 8",
    "4: .quad 1, 0, 0, 0", // SIG_IGN, no flags, no restorer, empty mask
    "5: .quad 0x4002",     // 1 << (2 - 1) | 1 << (15 - 1)
    ".global naru_pause_end",
    "naru_pause_end:",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .rodata.naru_pause, \"a\"",
    ".balign 16",
    ".global naru_pause_begin",
    "naru_pause_begin:",
    "mov x8, #134", // rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8)
    "mov x0, #17",
    "adr x1, 4f",
    "mov x2, #0",
    "mov x3, #8",
    "svc #0",
    "mov x8, #135", // rt_sigprocmask(SIG_BLOCK, {SIGINT, SIGTERM}, NULL, 8)
    "mov x0, #0",
    "adr x1, 5f",
    "mov x2, #0",
    "mov x3, #8",
    "svc #0",
    "3:",
    "mov x8, #137", // rt_sigtimedwait({SIGINT, SIGTERM}, NULL, NULL, 8)
    "adr x0, 5f",
    "mov x1, #0",
    "mov x2, #0",
    "mov x3, #8",
    "svc #0",
    "tbnz x0, #63, 3b",
    "mov x8, #94", // exit_group(0)
    "mov x0, #0",
    "svc #0",
    ".balign 8",
    "4: .quad 1, 0, 0, 0", // SIG_IGN, no flags, no restorer, empty mask
    "5: .quad 0x4002",     // 1 << (2 - 1) | 1 << (15 - 1)
    ".global naru_pause_end",
    "naru_pause_end:",
    ".popsection",
);

pub(crate) fn instructions() -> &'static [u8] {
    unsafe extern "C" {
        static naru_pause_begin: u8;
        static naru_pause_end: u8;
    }
    let (begin, end) = (&raw const naru_pause_begin, &raw const naru_pause_end);
    // SAFETY: both labels stand in one read-only section of this program, the end after the beginning, and all bytes
    // between them are initialised and never written.
    unsafe { std::slice::from_raw_parts(begin, end.addr() - begin.addr()) }
}
