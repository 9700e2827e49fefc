//! A machine's network cards, and what their cables lead to: QEMU's user-mode network, for one
//! machine by itself, or a [`crate::namespace::Namespace`], where several machines meet.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use crate::namespace::Holder;

/// A network card, always virtio-net.
#[derive(Debug, Clone)]
pub struct Nic {
    pub(crate) backend: Backend,
    pub(crate) mac: Option<String>,
    pub(crate) link_up: bool,
    pub(crate) vlan: Option<u16>,
}

#[derive(Debug, Clone)]
pub(crate) enum Backend {
    Slirp { forwards: Vec<(u16, u16)>, boot_file: Option<PathBuf> },
    Tap { name: String, holder: Arc<Holder> },
}

impl Nic {
    /// A card in QEMU's user-mode network: DHCP, and 10.0.2.2 is this host's loopback.
    pub fn slirp() -> Self {
        Self::new(Backend::Slirp { forwards: vec![], boot_file: None })
    }

    /// Forwards a TCP port of the host's loopback to the guest. User-mode network only.
    pub fn forward(mut self, host_port: u16, guest_port: u16) -> Self {
        if let Backend::Slirp { forwards, .. } = &mut self.backend {
            forwards.push((host_port, guest_port));
        }
        self
    }

    /// Offers this file, and its folder, by TFTP to a machine that boots from the network.
    /// User-mode network only; a namespace has [`crate::namespace::NamespaceSpec::boot_file`].
    pub fn boot_file(mut self, file: impl Into<PathBuf>) -> Self {
        if let Backend::Slirp { boot_file, .. } = &mut self.backend {
            *boot_file = Some(file.into());
        }
        self
    }

    /// A given MAC, like `52:54:00:00:00:01`, in place of one made from the machine's name.
    pub fn mac(mut self, mac: impl Into<String>) -> Self {
        self.mac = Some(mac.into());
        self
    }

    /// No cable at power-on; [`crate::vm::Running::set_link`] plugs it in.
    pub fn unplugged(mut self) -> Self {
        self.link_up = false;
        self
    }

    /// A cable to a switch port that carries this VLAN (1 to 4094) and nothing else: only frames
    /// with its tag (IEEE 802.1Q) reach the network, and those from there get one.
    pub fn tagged(mut self, vlan: u16) -> Self {
        self.vlan = Some(vlan);
        self
    }

    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend, mac: None, link_up: true, vlan: None }
    }
}

/// A TCP port of the loopback that is free now. Another process may take it before it is used.
///
/// # Errors
/// No port is free.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_free() {
        let port = free_port().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
