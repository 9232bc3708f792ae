package dra

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"clipper/node/resources/checkpoint"
)

// checkpointName is the kubelet's.
const checkpointName = "dra_manager_state"

// A claim is what is known of a resource claim on this node. Its exported part is the kubelet's checkpoint.
type claim struct {
	ClaimUID    types.UID
	ClaimName   string
	Namespace   string
	PodUIDs     sets.Set[string]        // that use it
	DriverState map[string]*driverState // every driver of which it has devices

	prepared bool
}

type driverState struct{ Devices []device }

// A device is what a driver has said of a device of a claim.
type device struct {
	PoolName     string
	DeviceName   string
	ShareID      *types.UID
	RequestNames []string
	CDIDeviceIDs []string
}

type checkpointFile struct {
	Data     string
	Checksum uint32
}

type checkpointData struct {
	metav1.TypeMeta
	ClaimInfoStateList []*claim
}

func newClaim(c *resourcev1.ResourceClaim) (*claim, error) {
	if c.Status.Allocation == nil {
		return nil, fmt.Errorf("ResourceClaim %s: not allocated", c.Name)
	}
	out := &claim{ClaimUID: c.UID, ClaimName: c.Name, Namespace: c.Namespace, PodUIDs: sets.New[string](), DriverState: map[string]*driverState{}}
	for _, r := range c.Status.Allocation.Devices.Results {
		out.DriverState[r.Driver] = &driverState{}
	}
	return out, nil
}

func (c *claim) key() claimKey { return claimKey{c.Namespace, c.ClaimName} }

// serves reports whether a device is of a request; "" stands for all.
func (d *device) serves(request string) bool {
	return request == "" || len(d.RequestNames) == 0 || slices.Contains(d.RequestNames, request)
}

// each visits the devices of a request, driver by driver.
func (c *claim) each(request string, visit func(driver string, d *device)) {
	for _, name := range slices.Sorted(maps.Keys(c.DriverState)) {
		for i := range c.DriverState[name].Devices {
			if d := &c.DriverState[name].Devices[i]; d.serves(request) {
				visit(name, d)
			}
		}
	}
}

// save needs the lock.
func (m *Manager) save() error {
	data := checkpointData{TypeMeta: metav1.TypeMeta{Kind: "DRACheckpoint", APIVersion: "checkpoint.dra.kubelet.k8s.io/v1"}, ClaimInfoStateList: []*claim{}}
	for _, c := range m.claims {
		data.ClaimInfoStateList = append(data.ClaimInfoStateList, c)
	}
	slices.SortFunc(data.ClaimInfoStateList, func(a, b *claim) int { return strings.Compare(string(a.ClaimUID), string(b.ClaimUID)) })
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("checkpoint ResourceClaim state: %w", err)
	}
	if err := checkpoint.Write(m.cfg.Dir.Join(checkpointName), checkpointFile{string(text), crc32.ChecksumIEEE(text)}); err != nil {
		return fmt.Errorf("checkpoint ResourceClaim state: %w", err)
	}
	return nil
}

// load reads what a former agent has prepared. It is prepared again before it is used again: nobody knows what has
// become of the machine meanwhile, and drivers do not mind.
func (m *Manager) load() error {
	var f checkpointFile
	found, err := checkpoint.Read(m.cfg.Dir.Join(checkpointName), &f)
	if err != nil || !found {
		return err
	}
	var data checkpointData
	if f.Checksum != crc32.ChecksumIEEE([]byte(f.Data)) {
		err = errors.New("checkpoint is corrupted")
	} else {
		err = json.Unmarshal([]byte(f.Data), &data)
	}
	if err != nil {
		return fmt.Errorf("could not initialize checkpoint manager, please drain node and remove DRA state file %s, err: %w", m.cfg.Dir.Join(checkpointName), err)
	}
	for _, c := range data.ClaimInfoStateList {
		if c == nil {
			continue
		}
		maps.DeleteFunc(c.DriverState, func(_ string, d *driverState) bool { return d == nil })
		if c.PodUIDs == nil {
			c.PodUIDs = sets.New[string]()
		}
		m.claims[c.key()] = c
	}
	return nil
}
