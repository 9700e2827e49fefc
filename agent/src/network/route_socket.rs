//! The rtnetlink sockets: one that sends requests and waits for their acknowledgement, one that
//! wakes when a link or an address changes. What the requests say is in `route_message`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::route_message::{RouteMessage, acknowledgement};

/// Multicast groups, as bits (linux/rtnetlink.h).
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// Answers that are read while waiting for one acknowledgement. The kernel sends one; the bound
/// keeps a surprise from holding the network up.
const MAX_ANSWERS: usize = 16;
const ANSWER_BYTES: usize = 8192;

/// Sends requests to the kernel.
pub(super) struct RouteSocket {
    fd: OwnedFd,
    sequence: u32,
}

impl RouteSocket {
    pub(super) fn open() -> rustix::io::Result<Self> {
        Ok(Self { fd: open(SocketFlags::CLOEXEC, 0)?, sequence: 0 })
    }

    /// Sends the request and waits until the kernel has done it.
    ///
    /// # Errors
    /// What the kernel answered; EPROTO if it answered something else.
    pub(super) fn request(&mut self, message: RouteMessage) -> rustix::io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.with_sequence(self.sequence);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
        let mut answer = [0; ANSWER_BYTES];
        for _ in 0..MAX_ANSWERS {
            let (_, len) = rustix::net::recv(&self.fd, &mut answer[..], RecvFlags::empty())?;
            match acknowledgement(&answer[..len.min(ANSWER_BYTES)], self.sequence) {
                Some(0) => return Ok(()),
                Some(errno) => return Err(Errno::from_raw_os_error(errno)),
                None => {}
            }
        }
        Err(Errno::PROTO)
    }
}

/// Becomes readable when a link or an address changes. What changed is then read from its source:
/// these messages may be dropped by the kernel, and sysfs always tells the present.
pub(super) struct ChangeSocket {
    fd: OwnedFd,
}

impl ChangeSocket {
    /// Links only.
    pub(super) fn links() -> rustix::io::Result<Self> {
        let fd = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, RTMGRP_LINK)?;
        Ok(Self { fd })
    }

    /// Links and addresses.
    pub(super) fn links_and_addresses() -> rustix::io::Result<Self> {
        let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
        let fd = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, groups)?;
        Ok(Self { fd })
    }

    /// Forgets all changes so far. EAGAIN ends it; any other error (ENOBUFS: some were dropped)
    /// means a change as well, and the next wait says so again if it lasts.
    pub(super) fn drain(&self) {
        let mut message = [0; ANSWER_BYTES];
        while rustix::net::recv(&self.fd, &mut message[..], RecvFlags::empty()).is_ok() {}
    }
}

impl AsFd for ChangeSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(flags: SocketFlags, groups: u32) -> rustix::io::Result<OwnedFd> {
    // Without a protocol netlink is NETLINK_ROUTE, whose number is 0.
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
    Ok(fd)
}
