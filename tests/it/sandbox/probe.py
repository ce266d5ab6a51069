# Within the sandbox: tries each thing and prints what came of it, as JSON. Arguments: a folder outside, a process
# outside, a UNIX socket outside, whether mode and owner of files outside are guarded, whether modes can be changed
# at all.
import ctypes, errno, fcntl, json, os, platform, signal, socket, subprocess, sys, tempfile, threading, time

OUTSIDE, STRANGER, SOCKET = sys.argv[1], int(sys.argv[2]), sys.argv[3]
GUARDED = sys.argv[4] == "guarded"
SECRET = os.path.join(OUTSIDE, "secret")
LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
forbidden, allowed = {}, {}


def refuse(name, action):
    try:
        found = action()
        forbidden[name] = "possible: %r" % (found,)
    except OSError as error:
        fine = error.errno in (errno.EPERM, errno.EACCES, errno.EROFS, errno.EXDEV)
        forbidden[name] = "refused" if fine else "failed otherwise: %s" % error


def allow(name, action):
    try:
        action()
        allowed[name] = "works"
    except Exception as error:
        allowed[name] = "failed: %r" % (error,)


def call(x86, arm, *arguments, fine=()):
    number = x86 if X86 else arm
    if number is None:
        raise PermissionError(errno.EPERM, "not on this machine")
    ctypes.set_errno(0)
    found = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(one) if isinstance(one, int) else one for one in arguments])
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(errno.EPERM if code in fine else code, os.strerror(code))
    return found


def read(path):
    with open(path, "rb") as file:
        return file.read(100)


def write(path):
    with open(path, "ab") as file:
        file.write(b"x")


# Reading.
for path in ["/etc/shadow", "/etc/passwd", "/etc/group", "/proc/1/environ", "/proc/1/cmdline", "/proc/1/status",
             "/proc/%d/environ" % STRANGER, "/proc/%d/cmdline" % STRANGER, "/proc/%d/environ" % os.getppid(),
             "/proc/%d/cmdline" % os.getppid(), "/proc/%d/maps" % os.getppid(), SECRET,
             os.path.join("..", os.path.basename(OUTSIDE), "secret"), "./../outside/./secret",
             "/proc/self/root" + SECRET, "/proc/self/cwd/../outside/secret", "/proc/%d/root%s" % (os.getppid(), SECRET),
             "/proc/thread-self/root" + SECRET, "/dev/kmsg", "/dev/mem"]:
    if os.path.lexists(path) or path.startswith("/proc/1") or "outside" in path:
        refuse("read " + path, lambda: read(path))
os.symlink(SECRET, "link")
os.symlink("../outside", "folder")
os.symlink("/", "root")
refuse("read through a link", lambda: read("link"))
refuse("read through a link to a folder", lambda: read("folder/secret"))
refuse("read through a link to the root", lambda: read("root/etc/shadow"))
refuse("hard link from outside", lambda: os.link(SECRET, "hard"))
for folder in ["/", "/proc", "/etc", "/root", "/home", "/var", "/tmp", OUTSIDE, "/proc/%d/fd" % os.getppid(),
               "/proc/1/fd", "/sys", "/dev", ".."]:
    if os.path.isdir(folder):
        refuse("list " + folder, lambda: os.listdir(folder))

# Writing.
refuse("append outside", lambda: write(SECRET))
refuse("make a file outside", lambda: write(os.path.join(OUTSIDE, "new")))
refuse("make a file in /tmp", lambda: write("/tmp/openclaw-sandbox-probe"))
refuse("make a file in /dev/shm", lambda: write("/dev/shm/openclaw-sandbox-probe"))
refuse("write through a link", lambda: write("link"))
refuse("write through a link to a folder", lambda: write("folder/new"))
refuse("truncate outside", lambda: os.truncate(SECRET, 0))
refuse("make a folder outside", lambda: os.mkdir(os.path.join(OUTSIDE, "made")))
refuse("unlink outside", lambda: os.unlink(SECRET))
refuse("rename out of the workspace", lambda: (write("mine"), os.rename("mine", os.path.join(OUTSIDE, "theirs"))))
refuse("rename into the workspace", lambda: os.rename(SECRET, "theirs"))
refuse("make a device", lambda: os.mknod("device", 0o600 | 0o020000, os.makedev(1, 5)))
refuse("change a system file", lambda: write("/usr/bin/env"))
if GUARDED:
    refuse("mode outside", lambda: os.chmod(SECRET, 0o777))
    refuse("owner outside", lambda: os.chown(SECRET, os.getuid(), os.getgid()))
    refuse("mode of a system file", lambda: os.chmod("/usr/bin/env", 0o755))
    refuse("attribute outside", lambda: os.setxattr(SECRET, "user.x", b"x"))

# Sockets.
families = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6, "netlink": 16, "UNIX": socket.AF_UNIX, "packet": 17,
            "vsock": 40, "alg": 38, "xdp": 44, "bluetooth": 31, "can": 29, "rds": 21, "tipc": 30}
for name, family in families.items():
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        refuse("socket %s %d" % (name, kind), lambda: socket.socket(family, kind))


def connect(kind):
    one = socket.socket(socket.AF_UNIX, kind)
    one.connect(SOCKET)


refuse("UNIX socket in the file system", lambda: connect(socket.SOCK_STREAM))
refuse("UNIX socket of the journal", lambda: connect(socket.SOCK_DGRAM))
refuse("pair of datagram sockets", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
refuse("pair of raw sockets", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW))

# Other processes.
for name, pid in {"stranger": STRANGER, "parent": os.getppid(), "init": 1}.items():
    refuse("signal " + name, lambda: os.kill(pid, 0))
    refuse("stop " + name, lambda: os.kill(pid, signal.SIGCONT))
    refuse("signal a thread of " + name, lambda: call(200, 130, pid, 0))
    refuse("trace " + name, lambda: call(101, 117, 16, pid, 0, 0))
    refuse("read the memory of " + name, lambda: call(310, 270, pid, 0, 0, 0, 0, 0))
    refuse("limit " + name, lambda: call(302, 261, pid, 7, 0, 0))


def through_descriptor():
    descriptor = call(434, 434, STRANGER, 0)
    call(424, 424, descriptor, 0, 0, 0)


refuse("signal through a descriptor", through_descriptor)
refuse("let oneself be traced", lambda: call(101, 117, 0, 0, 0, 0))

# The kernel. Without the filter most of these fail too, but otherwise.
NONE = ctypes.c_char_p(b"none")
for name, numbers in {
    "mount": (165, 40, NONE, ctypes.c_char_p(b"/"), NONE, 0x40000, 0), "umount": (166, 39, ctypes.c_char_p(b"/proc"), 2),
    "pivot_root": (155, 41, NONE, NONE), "chroot": (161, 51, ctypes.c_char_p(b".")),
    "unshare user": (272, 97, 0x10000000), "unshare mount": (272, 97, 0x20000), "unshare net": (272, 97, 0x40000000),
    "unshare pid": (272, 97, 0x20000000), "unshare time": (272, 97, 0x80), "setns": (308, 268, 0, 0),
    "fsopen": (430, 430, NONE, 0), "open_tree": (428, 428, -100, ctypes.c_char_p(b"."), 1), "mount_setattr": (442, 442, 0, 0, 0, 0, 0),
    "bpf": (321, 280, 0, 0, 0), "io_uring_setup": (425, 425, 1, 0), "io_uring_enter": (426, 426, 0, 0, 0, 0, 0, 0),
    "userfaultfd": (323, 282, 1), "perf_event_open": (298, 241, 0, 0, -1, -1, 0), "keyctl": (250, 219, 0, -3, 0),
    "add_key": (248, 217, NONE, NONE, 0, 0, -3), "request_key": (249, 218, NONE, NONE, 0, -3),
    "kexec_load": (246, 104, 0, 0, 0, 0), "init_module": (175, 105, 0, 0, NONE), "finit_module": (313, 273, 0, NONE, 0),
    "delete_module": (176, 106, NONE, 0), "reboot": (169, 142, 1, 2, 3), "swapon": (167, 224, NONE, 0), "acct": (163, 89, 0),
    "sethostname": (170, 161, NONE, 4), "settimeofday": (164, 170, 0, 0), "syslog": (103, 116, 3, 0, 0),
    "open_by_handle_at": (304, 265, 0, 0, 0), "fanotify_init": (300, 262, 0, 0), "shmget": (29, 194, 0, 4096, 0o1600),
    "msgget": (68, 186, 0, 0o1600), "semget": (64, 190, 0, 1, 0o1600), "mq_open": (240, 180, NONE, 0o102, 0o600, 0),
    "iopl": (172, None, 3), "process_madvise": (440, 440, 0, 0, 0, 0, 0), "pidfd_getfd": (438, 438, 0, 0, 0),
    "kcmp": (312, 272, os.getpid(), os.getpid(), 0, 0, 0), "quotactl": (179, 60, 0, 0, 0, 0),
}.items():
    refuse(name, lambda: call(*numbers))


def clone(flags):
    # SIGCHLD, so that a child that should not be is reaped.
    child = call(56, 220, flags | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


for name, flag in {"user": 0x10000000, "net": 0x40000000, "mount": 0x20000, "pid": 0x20000000, "ipc": 0x08000000,
                   "uts": 0x04000000, "cgroup": 0x02000000}.items():
    refuse("clone into a new %s namespace" % name, lambda: clone(flag))
refuse("clone3, whose flags nobody sees", lambda: call(435, 435, 0, 0, fine=(errno.ENOSYS,)))
refuse("text into a terminal", lambda: fcntl.ioctl(0, 0x5412, b"x"))
if X86:
    refuse("the second numbering of calls", lambda: call(0x40000000 | 272, None, 0x10000000, fine=(errno.ENOSYS,)))
    refuse("trace by the second numbering", lambda: call(0x40000000 | 521, None, 0, 0, 0, 0, fine=(errno.ENOSYS,)))

# Who it is.
for name, action in {
    "become root": lambda: os.setuid(0) if os.getuid() else os.setuid(65534),
    "change group": lambda: os.setgid(0 if os.getgid() else 65534), "change groups": lambda: os.setgroups([27]),
}.items():
    def tried(action=action):
        try:
            return action()
        except OSError as error:
            # In a user namespace of one user there is no other one.
            raise PermissionError(errno.EPERM, "no") if error.errno == errno.EINVAL else error
    refuse(name, tried)
refuse("take a capability", lambda: call(157, 167, 47, 2, 0, 0, 0, fine=(errno.EINVAL,)))  # PR_CAP_AMBIENT_RAISE
os.symlink("/usr/bin/env", "env")

# What must work.


def work():
    os.makedirs("a/b")
    for number in range(20):
        write("a/b/%d" % number)
    os.rename("a/b/1", "a/one")
    os.unlink("a/b/2")
    os.symlink("one", "a/link")
    assert read("a/link") == b"x" and len(os.listdir("a/b")) == 18


def run_script():
    with open("script.sh", "w") as file:
        file.write("#!/bin/sh\necho \"$1\" | tr a-z A-Z\n")
    os.chmod("script.sh", 0o755)
    assert subprocess.run(["./script.sh", "said"], check=True, capture_output=True).stdout == b"SAID\n"


def temporary():
    with tempfile.TemporaryDirectory() as folder:
        write(os.path.join(folder, "x"))
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
    assert tempfile.gettempdir() == os.environ["TMPDIR"]
    assert os.stat(os.environ["TMPDIR"]).st_mode & 0o777 == 0o700


def git():
    run = lambda *argv: subprocess.run(["git", *argv], check=True, capture_output=True)
    run("init", "-q", "repo")
    run("-C", "repo", "config", "user.email", "a@b")
    run("-C", "repo", "config", "user.name", "a")
    write("repo/file")
    run("-C", "repo", "add", "file")
    run("-C", "repo", "commit", "-q", "-m", "one")
    assert b"one" in run("-C", "repo", "log").stdout


def child():
    one = subprocess.Popen(["sleep", "60"])
    one.terminate()
    assert one.wait() == -signal.SIGTERM


def threads():
    found = []
    all_of_them = [threading.Thread(target=lambda: found.append(1)) for _ in range(20)]
    for one in all_of_them:
        one.start()
    for one in all_of_them:
        one.join()
    assert len(found) == 20


def pair():
    one, other = socket.socketpair()
    one.sendall(b"x")
    assert other.recv(1) == b"x"


allow("files of the workspace", work)
if sys.argv[5] == "modes":
    allow("a script with its mode", run_script)
    allow("git", git)
allow("temporary files", temporary)
allow("a shell with pipes", lambda: subprocess.run("cat /dev/null | sort | head -c 1 <&0; test -z \"$(true)\"", shell=True, check=True))
allow("a child and its signal", child)
allow("threads", threads)
allow("a pair of stream sockets", pair)
allow("random bytes", lambda: read("/dev/urandom"))
allow("nowhere", lambda: write("/dev/null"))
allow("another Python", lambda: subprocess.run([sys.executable, "-c", "import json, hashlib"], check=True))
allow("its own limits", lambda: __import__("resource").setrlimit(7, (64, 64)))
json.dump({"forbidden": forbidden, "allowed": allowed, "open": [n for n in range(3, 1024) if os.path.exists("/proc/self/fd/%d" % n)]}, sys.stdout)
