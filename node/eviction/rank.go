package eviction

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	schedulingcorev1 "k8s.io/component-helpers/scheduling/corev1"

	"clipper/diskusage"
	"clipper/node/eviction/threshold"
)

// Usage is what a pod uses, as far as it was measured.
type Usage struct {
	Memory     int64 // working set, bytes
	Processes  int64
	Containers []ContainerUsage
	Volumes    map[string]diskusage.Usage // those that lie on the node's disk, by name
}

// ContainerUsage is what a running container uses.
type ContainerUsage struct {
	Name         string
	Memory       int64
	Rootfs, Logs diskusage.Usage
}

// A Candidate is a pod that may have to go. Usage is nil if it could not be measured.
type Candidate struct {
	Pod   *corev1.Pod
	Usage *Usage
}

// Files says which of a pod's files lie on a file system.
type Files struct{ Rootfs, Logs, Volumes bool }

// On returns which files lie on the file system of a signal.
func filesOf(s threshold.Signal, dedicatedImageFS bool) Files {
	switch {
	case !dedicatedImageFS:
		return Files{Rootfs: true, Logs: true, Volumes: true}
	case s == threshold.ImageFSAvailable || s == threshold.ImageFSInodes:
		return Files{Rootfs: true}
	}
	return Files{Logs: true, Volumes: true}
}

// disk sums what a pod has on a file system.
func (u *Usage) disk(f Files) diskusage.Usage {
	var sum diskusage.Usage
	for _, c := range u.Containers {
		if f.Rootfs {
			sum = sum.Add(c.Rootfs)
		}
		if f.Logs {
			sum = sum.Add(c.Logs)
		}
	}
	if f.Volumes {
		for _, v := range u.Volumes {
			sum = sum.Add(v)
		}
	}
	return sum
}

// rank sorts candidates, those first that should go first: of which nothing is known, which use more than
// they asked for, which matter less, which use most beyond what they asked for.
func rank(candidates []Candidate, s threshold.Signal, f Files) {
	what := s.Resource()
	used := func(c Candidate) int64 {
		switch what {
		case corev1.ResourceMemory:
			return c.Usage.Memory
		case threshold.ResourcePIDs:
			return c.Usage.Processes
		case threshold.ResourceInodes:
			return c.Usage.disk(f).Inodes
		}
		return c.Usage.disk(f).Bytes
	}
	slices.SortStableFunc(candidates, func(a, b Candidate) int {
		if a.Usage == nil || b.Usage == nil {
			return truth(b.Usage == nil) - truth(a.Usage == nil)
		}
		overA, overB := used(a)-requested(a.Pod, what), used(b)-requested(b.Pod, what)
		exceeds := truth(overB > 0) - truth(overA > 0)
		if what == threshold.ResourcePIDs { // nobody asks for process IDs, so everybody exceeds that
			exceeds = 0
		}
		return cmp.Or(exceeds, cmp.Compare(schedulingcorev1.PodPriority(a.Pod), schedulingcorev1.PodPriority(b.Pod)), cmp.Compare(overB, overA))
	})
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// requested returns what a pod asked for; nobody asks for inodes and process IDs.
func requested(pod *corev1.Pod, name corev1.ResourceName) int64 {
	q := resource.PodRequests(pod, resource.PodResourcesOptions{})[name]
	return q.Value()
}
