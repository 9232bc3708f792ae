package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage bounds one message: a list of some ten thousand containers fits.
const maxMessage = 64 << 20

// maxFiles is the most descriptors one message carries.
const maxFiles = 3

// SocketName is the socket's file name in the shim's state directory.
const SocketName = "shim.sock"

// A Conn is one end of a connection. Sending and receiving may happen at the same time, each by one caller.
type Conn struct{ c *net.UnixConn }

// NewConn wraps a connection accepted from the shim's listener.
func NewConn(c *net.UnixConn) *Conn { return &Conn{c} }

// Dial connects to the shim that serves stateDir.
func Dial(stateDir string) (*Conn, error) {
	var conn *net.UnixConn
	err := throughDir(stateDir, func(path string) (err error) {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Conn{conn}, nil
}

// Listen opens the socket in stateDir, for its owner only. A socket file left by a dead shim is replaced;
// the caller holds the directory's lock.
func Listen(stateDir string) (*net.UnixListener, error) {
	if err := os.Remove(filepath.Join(stateDir, SocketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var l *net.UnixListener
	err := throughDir(stateDir, func(path string) (err error) {
		if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		return os.Chmod(path, 0o600)
	})
	return l, err
}

// throughDir gives do a short path of the socket: a socket address holds 107 bytes, a data directory may be
// deeper than that.
func throughDir(dir string, do func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return do(filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), SocketName))
}

// Close ends the connection.
func (c *Conn) Close() error { return c.c.Close() }

// CloseWrite tells the other end that nothing more comes. What it still says can be received.
func (c *Conn) CloseWrite() error { return c.c.CloseWrite() }

// PeerGone reports whether the other end has closed the connection, though messages of it may be left to read.
func (c *Conn) PeerGone() bool {
	raw, err := c.c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, _ := unix.Poll(fds, 0)
		gone = n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

// SetDeadline limits what is sent and received from now on; the zero time lifts it.
func (c *Conn) SetDeadline(t time.Time) error { return c.c.SetDeadline(t) }

// Send writes one message, with files attached. The files stay the caller's.
func (c *Conn) Send(m any, files ...*os.File) error {
	frame, err := encode(m)
	if err != nil {
		return err
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.c.WriteMsgUnix(frame, oob, nil)
	if err == nil && n < len(frame) {
		_, err = c.c.Write(frame[n:])
	}
	return err
}

// Receive reads one message into m and returns the files attached to it, which become the caller's.
func (c *Conn) Receive(m any) ([]*os.File, error) {
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, flags, _, err := c.c.ReadMsgUnix(head[:], oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := parseFiles(oob[:oobn])
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = fmt.Errorf("more than %d descriptors in one message", maxFiles)
	}
	if err == nil {
		err = c.receiveBody(head, n, m)
	}
	if err != nil {
		CloseAll(files)
		return nil, err
	}
	return files, nil
}

func (c *Conn) receiveBody(head [4]byte, n int, m any) error {
	if _, err := io.ReadFull(c.c, head[n:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxMessage {
		return fmt.Errorf("message of %d bytes exceeds the limit of %d", size, maxMessage)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.c, body); err != nil {
		return err
	}
	return json.Unmarshal(body, m)
}

// parseFiles takes the descriptors out of a control message.
func parseFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials or the like: not for us
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// CloseAll closes files, ignoring nil ones.
func CloseAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
