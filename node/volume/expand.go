package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/node/csi"
)

// expansionNotRequired is what a resizer writes on a claim whose volume needs nothing from nodes.
const expansionNotRequired = "volume.kubernetes.io/node-expansion-not-required"

// An expansion is what a claim and its volume ask of a node.
type expansion struct {
	size resource.Quantity // to grow to; zero: nothing is to be done
	// done: the claim has the size already; other nodes have let the volume grow, this one may still have to.
	done bool
	// progress: the resizer keeps account of how far the expansion is.
	progress bool
}

// planExpansion decides whether a node, on which the volume has the size has, has to let it grow. Both objects
// are read only.
func planExpansion(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, has resource.Quantity) expansion {
	const storage = corev1.ResourceStorage
	wants := pv.Spec.Capacity[storage]
	if has.Cmp(wants) >= 0 {
		return expansion{}
	}
	allocated, progress := claim.Status.AllocatedResources[storage]
	if !progress { // a resizer from before there was recovery
		return expansion{size: wants}
	}
	state := claim.Status.AllocatedResourceStatuses[storage]
	claimed := claim.Status.Capacity[storage]
	e := expansion{size: allocated, progress: true, done: claimed.Cmp(allocated) >= 0 && state == ""}
	switch {
	case e.done && slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteMany) && !metav1.HasAnnotation(claim.ObjectMeta, expansionNotRequired):
	case state == corev1.PersistentVolumeClaimNodeResizePending || state == corev1.PersistentVolumeClaimNodeResizeInProgress:
	default:
		return expansion{}
	}
	return e
}

// expand lets a volume that a pod has been given grow, if its claim has asked for that. The claim tells how far
// it is.
func (m *Manager) expand(ctx context.Context, pod *corev1.Pod, mount *csiMount) error {
	if mount.parked {
		return nil
	}
	claim, err := api.PersistentVolumeClaims.Get(ctx, m.cfg.Client, mount.claim.Namespace, mount.claim.Name)
	if err != nil {
		return fmt.Errorf("mountVolume.NodeExpandVolume get PVC failed : %w", err)
	}
	pv, err := api.PersistentVolumes.Get(ctx, m.cfg.Client, "", mount.volume.PV.Name)
	if err != nil {
		return fmt.Errorf("mountVolume.NodeExpandVolume get PV failed : %w", err)
	}
	e := planExpansion(claim, pv, mount.size)
	if e.size.IsZero() {
		return nil
	}
	name := mount.volume.Name
	if mount.volume.ReadOnly {
		m.tell(pod, claim, corev1.EventTypeWarning, "FileSystemResizeFailed", `MountVolume.NodeExpandVolume failed for volume %q requested read-only file system`, name)
		return nil
	}
	if e.progress && !e.done {
		if err := m.setProgress(ctx, claim, inProgress); err != nil {
			return err
		}
	}
	if err := m.csi.Expand(ctx, mount.volume, pod.UID, e.size.Value()); err != nil {
		return m.expansionFailed(ctx, claim, mount, e, err)
	}
	mount.failed, mount.size = false, e.size
	m.tell(pod, claim, corev1.EventTypeNormal, "FileSystemResizeSuccessful", `MountVolume.NodeExpandVolume succeeded for volume %q %s`, name, m.cfg.NodeName)
	if e.done {
		return nil
	}
	if err := m.setProgress(ctx, claim, finished(e.size)); err != nil {
		return fmt.Errorf("mountVolume.NodeExpandVolume update pvc status failed: %w", err)
	}
	return nil
}

func (m *Manager) tell(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim, eventType, reason, format string, args ...any) {
	m.cfg.Recorder.Event(pod, eventType, reason, format, args...)
	m.cfg.Recorder.Event(claim, eventType, reason, format, args...)
}

// expansionFailed tells the claim of a failure. Some are none: of a driver that leaves nothing to the node, and
// of one that lets no volume grow that a pod uses.
func (m *Manager) expansionFailed(ctx context.Context, claim *corev1.PersistentVolumeClaim, mount *csiMount, e expansion, err error) error {
	var x *csi.ExpandError
	if !errors.As(err, &x) {
		return err
	}
	if x.Unsupported && e.done {
		return nil
	}
	if x.Final && e.progress {
		// Who has asked for another size since, after a failure that was final, is told to try that.
		want := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		giveUp := x.Infeasible || (mount.failed && want.Cmp(e.size) != 0)
		if werr := m.setProgress(ctx, claim, failed(err, giveUp)); werr != nil {
			err = errors.Join(err, werr)
		}
		mount.failed = true
	}
	if x.InUse {
		mount.parked = true
		return nil
	}
	return err
}

// setProgress changes what a claim's status says of its expansion.
func (m *Manager) setProgress(ctx context.Context, claim *corev1.PersistentVolumeClaim, change func(*corev1.PersistentVolumeClaimStatus)) error {
	_, err := api.PersistentVolumeClaims.Mutate(ctx, m.cfg.Client, claim.Namespace, claim.Name, "status", func(now *corev1.PersistentVolumeClaim) (bool, error) {
		if now.UID != claim.UID {
			return false, nil
		}
		before := now.Status.DeepCopy()
		change(&now.Status)
		return !apiequality.Semantic.DeepEqual(before, &now.Status), nil
	})
	return err
}

func setState(st *corev1.PersistentVolumeClaimStatus, state corev1.ClaimResourceStatus) {
	if st.AllocatedResourceStatuses == nil {
		st.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{}
	}
	st.AllocatedResourceStatuses[corev1.ResourceStorage] = state
}

func inProgress(st *corev1.PersistentVolumeClaimStatus) {
	setState(st, corev1.PersistentVolumeClaimNodeResizeInProgress)
}

// finished returns the change that ends an expansion.
func finished(size resource.Quantity) func(*corev1.PersistentVolumeClaimStatus) {
	return func(st *corev1.PersistentVolumeClaimStatus) {
		if st.Capacity == nil {
			st.Capacity = corev1.ResourceList{}
		}
		st.Capacity[corev1.ResourceStorage] = size
		delete(st.AllocatedResourceStatuses, corev1.ResourceStorage)
		if len(st.AllocatedResourceStatuses) == 0 {
			st.AllocatedResourceStatuses = nil
		}
		st.Conditions = slices.DeleteFunc(st.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool { return aboutResize[c.Type] })
	}
}

// aboutResize are the conditions that tell of an expansion.
var aboutResize = map[corev1.PersistentVolumeClaimConditionType]bool{
	corev1.PersistentVolumeClaimFileSystemResizePending: true,
	corev1.PersistentVolumeClaimResizing:                true,
	corev1.PersistentVolumeClaimControllerResizeError:   true,
	corev1.PersistentVolumeClaimNodeResizeError:         true,
}

// failed returns the change that tells of a failure; with giveUp there will be no further attempt.
func failed(err error, giveUp bool) func(*corev1.PersistentVolumeClaimStatus) {
	c := corev1.PersistentVolumeClaimCondition{Type: corev1.PersistentVolumeClaimNodeResizeError, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.Now(), Message: fmt.Sprintf("failed to expand pvc with %v", err)}
	return func(st *corev1.PersistentVolumeClaimStatus) {
		if giveUp {
			setState(st, corev1.PersistentVolumeClaimNodeResizeInfeasible)
		}
		have := func(x corev1.PersistentVolumeClaimCondition) bool { return x.Type == c.Type }
		if i := slices.IndexFunc(st.Conditions, have); i >= 0 {
			if st.Conditions[i].Status != c.Status {
				st.Conditions[i] = c
			}
			return
		}
		st.Conditions = append(st.Conditions, c)
	}
}
