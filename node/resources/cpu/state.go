package cpu

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"

	"clipper/node/resources/checkpoint"
)

// state is who has which CPUs. What is handed out is in the file before anybody uses it.
type state struct {
	file     string
	shared   cpuset.CPUSet // of those who have none for themselves
	assigned map[types.UID]map[string]cpuset.CPUSet
}

// stateFile is the checkpoint, the second version of the kubelet's cpu_manager_state.
type stateFile struct {
	PolicyName    string                       `json:"policyName"`
	DefaultCPUSet string                       `json:"defaultCpuSet"`
	Entries       map[string]map[string]string `json:"entries,omitempty"`
	Checksum      checksum                     `json:"checksum"`
}

type checksum uint64

const policyName = "static"

func (f *stateFile) sum() checksum {
	bare := *f
	bare.Checksum = 0
	return checksum(checkpoint.Sum(&bare, "cpu.stateFile", "state.CPUManagerCheckpoint", "cpu.checksum", "checksum.Checksum"))
}

func (s *state) load(file string) error {
	s.file, s.assigned = file, map[types.UID]map[string]cpuset.CPUSet{}
	f := stateFile{Entries: map[string]map[string]string{}}
	found, err := checkpoint.Read(file, &f)
	if err != nil || !found {
		return err
	}
	if err := s.parse(&f); err != nil {
		return fmt.Errorf("could not restore state from checkpoint: %w, please drain this node and delete the CPU manager checkpoint file %q before restarting Kubelet", err, file)
	}
	return nil
}

func (s *state) parse(f *stateFile) error {
	if f.Checksum != 0 && f.Checksum != f.sum() {
		return errors.New("checkpoint is corrupted")
	}
	if f.PolicyName != policyName {
		return fmt.Errorf("configured policy %q differs from state checkpoint policy %q", policyName, f.PolicyName)
	}
	var err error
	if s.shared, err = cpuset.Parse(f.DefaultCPUSet); err != nil {
		return fmt.Errorf("could not parse default cpu set %q: %w", f.DefaultCPUSet, err)
	}
	for pod, containers := range f.Entries {
		for name, list := range containers {
			cpus, err := cpuset.Parse(list)
			if err != nil {
				return fmt.Errorf("could not parse cpuset %q for container %q in pod %q: %w", list, name, pod, err)
			}
			s.set(types.UID(pod), name, cpus)
		}
	}
	return nil
}

func (s *state) save() error {
	f := stateFile{PolicyName: policyName, DefaultCPUSet: s.shared.String(), Entries: map[string]map[string]string{}}
	for pod, containers := range s.assigned {
		f.Entries[string(pod)] = map[string]string{}
		for name, cpus := range containers {
			f.Entries[string(pod)][name] = cpus.String()
		}
	}
	f.Checksum = f.sum()
	return checkpoint.Write(s.file, &f)
}

func (s *state) of(pod types.UID, container string) (cpuset.CPUSet, bool) {
	cpus, ok := s.assigned[pod][container]
	return cpus, ok
}

func (s *state) set(pod types.UID, container string, cpus cpuset.CPUSet) {
	if s.assigned[pod] == nil {
		s.assigned[pod] = map[string]cpuset.CPUSet{}
	}
	s.assigned[pod][container] = cpus
}

func (s *state) assign(pod types.UID, container string, cpus cpuset.CPUSet) error {
	s.set(pod, container, cpus)
	s.shared = s.shared.Difference(cpus)
	return s.save()
}

func (s *state) release(pod types.UID) error {
	containers, ok := s.assigned[pod]
	if !ok {
		return nil
	}
	for _, cpus := range containers {
		s.shared = s.shared.Union(cpus)
	}
	delete(s.assigned, pod)
	return s.save()
}

func (s *state) holders() []types.UID { return slices.Collect(maps.Keys(s.assigned)) }

// check compares the state with the machine and what is reserved, which may have changed since. A new one begins with
// all CPUs shared.
func (p *Static) check() error {
	s, all := &p.state, p.machine.All()
	if p.options[strictReserved] {
		all = all.Difference(p.reserved)
	}
	if s.shared.IsEmpty() {
		if len(s.assigned) > 0 {
			return errors.New("default cpuset cannot be empty")
		}
		s.shared = all
		return s.save()
	}
	in := p.reserved.Intersection(s.shared)
	if p.options[strictReserved] && !in.IsEmpty() {
		return fmt.Errorf("some of strictly reserved cpus: %q are present in defaultCpuSet: %q", in, s.shared)
	}
	if !p.options[strictReserved] && !in.Equals(p.reserved) {
		return fmt.Errorf("not all reserved cpus: %q are present in defaultCpuSet: %q", p.reserved, s.shared)
	}
	known := s.shared
	for pod, containers := range s.assigned {
		for name, cpus := range containers {
			if !cpus.Intersection(s.shared).IsEmpty() {
				return fmt.Errorf("pod: %s, container: %s cpuset: %q overlaps with default cpuset %q", pod, name, cpus, s.shared)
			}
			known = known.Union(cpus)
		}
	}
	if !known.Equals(all) {
		return fmt.Errorf("current set of available CPUs %q doesn't match with CPUs in state %q", all, known)
	}
	return nil
}
