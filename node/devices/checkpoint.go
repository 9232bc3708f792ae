package devices

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"clipper/node/resources/checkpoint"
)

// checkpointName is the kubelet's.
const checkpointName = "kubelet_internal_checkpoint"

// checkpointFile and what it is made of are the kubelet's checkpoint in its second version.
type checkpointFile struct {
	Data     checkpointData
	Checksum uint64
}

type checkpointData struct {
	PodDeviceEntries  []podDevicesEntry
	RegisteredDevices map[string][]string
}

type podDevicesEntry struct {
	PodUID        string
	ContainerName string
	ResourceName  string
	DeviceIDs     devicesPerNUMA
	AllocResp     []byte
}

type devicesPerNUMA map[int64][]string

func (d checkpointData) sum() uint64 {
	return checkpoint.Sum(d, "devices.checkpointData", "checkpoint.checkpointData", "devices.podDevicesEntry", "checkpoint.PodDevicesEntry",
		"devices.devicesPerNUMA", "checkpoint.DevicesPerNUMA")
}

func (m *Manager) checkpointPath() string {
	return filepath.Join(m.cfg.Dir.Join(pluginDir), checkpointName)
}

// save needs the lock: what is in the file must not lag behind what is promised.
func (m *Manager) save() error {
	data := checkpointData{PodDeviceEntries: []podDevicesEntry{}, RegisteredDevices: map[string][]string{}}
	for name, r := range m.resources {
		data.RegisteredDevices[name] = sets.List(r.healthy())
	}
	for _, pod := range slices.Sorted(maps.Keys(m.granted)) {
		for _, container := range slices.Sorted(maps.Keys(m.granted[pod])) {
			for _, name := range slices.Sorted(maps.Keys(m.granted[pod][container])) {
				g := m.granted[pod][container][name]
				if g.response == nil {
					continue
				}
				answer, err := proto.Marshal(g.response)
				if err != nil {
					return fmt.Errorf("encode what the device plug-in of %s has answered: %w", name, err)
				}
				data.PodDeviceEntries = append(data.PodDeviceEntries, podDevicesEntry{string(pod), container, name, g.ids, answer})
			}
		}
	}
	return checkpoint.Write(m.checkpointPath(), checkpointFile{data, data.sum()})
}

// load reads what a former agent has handed out. The plug-ins that it knew are yet to register.
func (m *Manager) load() error {
	if err := clearSockets(m.cfg.Dir.Join(pluginDir)); err != nil {
		return fmt.Errorf("prepare the folder of device plug-ins: %w", err)
	}
	var f checkpointFile
	found, err := checkpoint.Read(m.checkpointPath(), &f)
	m.fresh = !found
	if err == nil && found && f.Checksum != f.Data.sum() {
		err = errors.New("the checkpoint of the node's devices is corrupted; drain the node and remove " + m.checkpointPath())
	}
	if err != nil {
		return err
	}
	for name := range f.Data.RegisteredDevices {
		m.resources[name] = &kind{stopped: time.Now()}
	}
	for _, e := range f.Data.PodDeviceEntries {
		answer := &plugin.ContainerAllocateResponse{}
		if err := proto.Unmarshal(e.AllocResp, answer); err != nil {
			return fmt.Errorf("read what the device plug-in of %s has answered: %w", e.ResourceName, err)
		}
		m.put(types.UID(e.PodUID), e.ContainerName, e.ResourceName, &grant{e.DeviceIDs, answer})
	}
	return nil
}

func (m *Manager) put(pod types.UID, container, name string, g *grant) {
	if m.granted[pod] == nil {
		m.granted[pod] = map[string]map[string]*grant{}
	}
	if m.granted[pod][container] == nil {
		m.granted[pod][container] = map[string]*grant{}
	}
	m.granted[pod][container][name] = g
}
