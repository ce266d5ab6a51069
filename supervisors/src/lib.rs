//! Erlang/OTP-grade supervision for ractor.
