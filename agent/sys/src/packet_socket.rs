//! A packet socket on one network interface that passes only the frames its filter accepts; what
//! a DHCP client needs before the interface has an address.
//!
//! The filter runs in the kernel, so that a busy server's other frames are never copied to us.
//! Which frames those are is the caller's affair. See packet(7) and the kernel's
//! Documentation/networking/filter.rst.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Result;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::kexec::last_errno;

/// One instruction of classic BPF, as `struct sock_filter` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterInstruction {
    /// Operation and addressing mode.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// A non-blocking AF_PACKET socket that is bound to one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on the interface with this index that receives whole Ethernet frames which
    /// `filter` accepts. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// The kernel's: EPERM, ENODEV (the interface is gone), EINVAL (the filter is not valid).
    pub fn open(interface_index: u32, filter: &[FilterInstruction]) -> Result<Self> {
        // Protocol 0 receives nothing, so no frame slips in between here and the filter.
        let fd = rustix::net::socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        attach_filter(fd.as_fd(), filter)?;
        rustix::net::bind(&fd, &LinkLayerAddress { interface_index })?;
        Ok(Self { fd })
    }

    /// Takes one received frame into `buffer` and gives its length; what does not fit is cut off.
    ///
    /// # Errors
    /// EAGAIN if no frame waits, ENETDOWN once when the interface goes down.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        let (_, received_bytes) = rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty())?;
        Ok(received_bytes.min(buffer.len()))
    }

    /// Sends one whole Ethernet frame.
    ///
    /// # Errors
    /// ENETDOWN, ENXIO, EMSGSIZE, ENOBUFS and EAGAIN (the queue is full).
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        rustix::net::send(&self.fd, frame, SendFlags::empty()).map(|_| ())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The part of `struct sockaddr_ll` that bind(2) reads: all protocols of one interface.
struct LinkLayerAddress {
    interface_index: u32,
}

// SAFETY: `with_sockaddr` passes a pointer to a whole `sockaddr_ll` on its stack together with that
// struct's own size, and the struct lives until `f` returns.
// JUSTIFICATION: rustix has no AF_PACKET address, and nix's `LinkAddr` cannot be made safely.
unsafe impl SocketAddrArg for LinkLayerAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: self.interface_index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        f((&raw const address).cast(), size_of::<libc::sockaddr_ll>() as SocketAddrLen)
    }
}

fn attach_filter(socket: BorrowedFd<'_>, filter: &[FilterInstruction]) -> Result<()> {
    let mut instructions: Vec<libc::sock_filter> = filter
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.operand,
        })
        .collect();
    let Ok(len) = u16::try_from(instructions.len()) else {
        return Err(rustix::io::Errno::INVAL);
    };
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    // SAFETY: `program` and the `len` instructions it points to live until the call returns; the
    // kernel copies and checks them and keeps no pointer.
    // JUSTIFICATION: SO_ATTACH_FILTER is wrapped neither by rustix nor by nix.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}
