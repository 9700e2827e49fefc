# db: Debian with PostgreSQL 15, which answers user repave on database repave. Its compiler for
# queries (JIT, a third of the image) stays out; PostgreSQL does without when it is not there.
source "$common/debian.sh"
debian_disk 40 640 '/usr/lib/x86_64-linux-gnu/libLLVM*' '/usr/lib/llvm-*' '/usr/lib/x86_64-linux-gnu/libz3*' \
    '/usr/lib/postgresql/15/lib/llvmjit*' '/usr/lib/postgresql/15/lib/bitcode/*'
debian_boot_json /etc/ /root/ /usr/lib/repave/
finish "$1"
