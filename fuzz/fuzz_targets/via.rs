#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| piko_fuzz_targets::via(data));
