#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| openclaw_fuzz::checks::sse_framer(data));
