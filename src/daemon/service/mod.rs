//! A daemon under a service manager: what systemd is told, the sockets that it hands over, its watchdog.

pub mod manager;
pub mod sockets;
pub mod units;
pub mod verdict;
pub mod watchdog;
