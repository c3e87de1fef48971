//! Linker arguments of the static agent; see `static.ld`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=static.ld");
    let is = |name: &str, want: &str| std::env::var(name).is_ok_and(|value| value == want);
    // The linker is that of `.cargo/config.toml`: others take these arguments in another form, if at all.
    if !(is("CARGO_CFG_TARGET_ENV", "musl") && is("PROFILE", "release") && is("RUSTC_LINKER", "rust-lld")) {
        return;
    }
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-bins=-T{folder}/static.ld");
    println!("cargo::rustc-link-arg-bins=--icf=all");
    // A program is run by its segments; its sections are for tools, and tell little of one without symbols: 1.3 KiB.
    println!("cargo::rustc-link-arg-bins=-znosectionheader");
    // A panic aborts, and a stripped binary has no names for a backtrace. The unwinder would still be linked in, for std's
    // panic message alone: 70 KiB. Its walk becomes a call that does nothing, which std takes for a stack without frames;
    // the rest is never called.
    println!("cargo::rustc-link-arg-bins=--defsym=_Unwind_Backtrace=getpid");
    for symbol in [
        "_Unwind_GetDataRelBase",
        "_Unwind_GetIP",
        "_Unwind_GetIPInfo",
        "_Unwind_GetLanguageSpecificData",
        "_Unwind_GetRegionStart",
        "_Unwind_GetTextRelBase",
        "_Unwind_Resume",
        "_Unwind_SetGR",
        "_Unwind_SetIP",
    ] {
        println!("cargo::rustc-link-arg-bins=--defsym={symbol}=abort");
    }
}
