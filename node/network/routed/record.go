package routed

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"clipper/node/network"
)

// A record is what is kept of an attachment, in a file named like its id.
type record struct {
	ID       string            `json:"id"`
	IP       netip.Addr        `json:"ip"`
	Ports    []network.PodPort `json:"ports,omitempty"`
	Complete bool              `json:"complete"` // Attach has been through with it
}

func (n *Network) recordDir() string { return filepath.Join(n.cfg.StateDir, "attachments") }

// reserve returns the record of id, with a new address if there is none yet.
func (n *Network) reserve(id string, ports []network.PodPort) (record, error) {
	n.mu.Lock()
	r, known := n.held[id]
	if known && slices.Equal(r.Ports, ports) {
		n.mu.Unlock()
		return r, nil
	}
	if !known {
		ip, err := n.pool.take(id)
		if err != nil {
			n.mu.Unlock()
			return record{}, err
		}
		r = record{ID: id, IP: ip}
	}
	r.Ports, r.Complete = slices.Clone(ports), false
	n.held[id] = r
	n.mu.Unlock()
	if err := n.saveRecord(r); err != nil {
		if !known {
			n.forget(r)
		}
		return record{}, err
	}
	return r, nil
}

func (n *Network) lookup(id string) (record, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r, ok := n.held[id]
	return r, ok
}

// release removes the record of id, then frees its address: the other order could give the address to two.
func (n *Network) release(id string) error {
	if err := os.Remove(filepath.Join(n.recordDir(), id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove record: %w", err)
	}
	if r, ok := n.lookup(id); ok {
		n.forget(r)
	}
	return nil
}

func (n *Network) forget(r record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.held, r.ID)
	n.pool.free(r.IP)
}

// saveRecord replaces the file in one step. It is not synced to disk: a power failure ends the namespaces
// as well, and a file that does not make sense after it is dropped by loadRecords.
func (n *Network) saveRecord(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	path := filepath.Join(n.recordDir(), r.ID)
	tmp := filepath.Join(n.recordDir(), "."+r.ID) // hidden: not an id
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	n.mu.Lock()
	n.held[r.ID] = r
	n.mu.Unlock()
	return nil
}

func (n *Network) loadRecords() error {
	n.pool, n.held = newPool(n.cfg.PodCIDR), map[string]record{}
	if err := os.MkdirAll(n.recordDir(), 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	entries, err := os.ReadDir(n.recordDir())
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(n.recordDir(), e.Name())
		r, err := readRecord(path)
		// What is half written, torn by a power failure or of another pod CIDR holds no address. The veth and
		// the namespace of that id, if any, are still found by List.
		if strings.HasPrefix(e.Name(), ".") || err != nil || r.ID != e.Name() || !n.pool.claim(r.IP, r.ID) {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove unusable record: %w", err)
			}
			continue
		}
		n.held[r.ID] = r
	}
	return nil
}

func readRecord(path string) (record, error) {
	var r record
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}
