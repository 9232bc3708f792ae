package shim

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A keeper has copies of descriptors held that must not close when the shim dies: a terminal would hang up, a
// container's stdin would come to its end. They are in a process that outlives it, cmd/clipper-shim/hold.c, which
// says what is spoken; it is started for the first descriptor and ends after the last.
type keeper struct {
	dir string

	mu   sync.Mutex
	conn *net.UnixConn
	mine map[string]*os.File // what is held on our behalf, to be held again should the keeper die
}

const (
	keeperSocket = "keeper.sock"
	// keeperWait bounds one exchange; the process never has to wait for anything itself.
	keeperWait = 5 * time.Second
)

func newKeeper(dir string) *keeper { return &keeper{dir: dir, mine: map[string]*os.File{}} }

// keep has f, which stays the caller's, held under id.
func (k *keeper) keep(id string, f *os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mine[id] = f
	_, err := k.askLocked('P', id, f)
	if err == nil {
		return nil
	}
	k.closeLocked()
	if err := k.startLocked(); err != nil {
		return fmt.Errorf("start the keeper of descriptors: %w", err)
	}
	for other, f := range k.mine {
		if _, perr := k.askLocked('P', other, f); other == id {
			err = perr
		} else if perr != nil { // on its way out, perhaps
			slog.Warn("cannot keep a descriptor any longer", "of", other, "err", perr)
		}
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", id, err)
	}
	return nil
}

// fetch returns what is held under id. It stays held.
func (k *keeper) fetch(id string) (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, err := k.askLocked('G', id, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", id, err)
	}
	if f == nil {
		return nil, fmt.Errorf("fetch %s: no descriptor came", id)
	}
	k.mine[id] = f
	return f, nil
}

// drop ends what keep or an earlier shim's keep has begun. It is no error if there is nothing.
func (k *keeper) drop(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.mine, id)
	_, err := k.askLocked('D', id, nil)
	if err != nil && !errors.Is(err, errNotHeld) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
		slog.Warn("cannot drop a kept descriptor", "of", id, "err", err)
	}
	if err != nil || len(k.mine) == 0 {
		k.closeLocked()
	}
}

var errNotHeld = errors.New("it is not held")

// askLocked sends one request, with f, and returns the descriptor that comes with the answer.
func (k *keeper) askLocked(op byte, id string, f *os.File) (*os.File, error) {
	if err := k.connectLocked(); err != nil {
		return nil, err
	}
	if err := k.conn.SetDeadline(time.Now().Add(keeperWait)); err != nil {
		return nil, err
	}
	var oob []byte
	if f != nil {
		oob = unix.UnixRights(int(f.Fd()))
	}
	if _, _, err := k.conn.WriteMsgUnix(append([]byte{op}, id...), oob, nil); err != nil {
		return nil, err
	}
	var said [1]byte
	oob = make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := k.conn.ReadMsgUnix(said[:], oob)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errors.New("the keeper has ended")
	case said[0] != 'K':
		return nil, errNotHeld
	case oobn == 0:
		return nil, nil
	}
	return passedFile(oob[:oobn])
}

func (k *keeper) connectLocked() error {
	if k.conn != nil {
		return nil
	}
	return inDir(k.dir, func(path string) (err error) {
		k.conn, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
}

// inDir gives do a short path of the socket: a socket address holds 107 bytes.
func inDir(dir string, do func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return do(filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), keeperSocket))
}

func (k *keeper) closeLocked() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

// startLocked starts a keeper and connects to it.
func (k *keeper) startLocked() error {
	if err := os.Remove(filepath.Join(k.dir, keeperSocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return inDir(k.dir, func(path string) error {
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			return err
		}
		defer l.Close()
		l.SetUnlinkOnClose(false)
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		socket, err := l.File()
		if err != nil {
			return err
		}
		defer socket.Close()
		cmd := exec.Command("/proc/self/exe", "hold")
		cmd.Dir, cmd.ExtraFiles = "/", []*os.File{socket}
		if err := cmd.Run(); err != nil { // it leaves a child of its own behind
			return err
		}
		k.conn, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
}
