package persistentvolume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// A claimPlan is what becomes of a claim. Without Volume only its phase, events and annotations are set.
type claimPlan struct {
	Volume      *corev1.PersistentVolume // bind the two
	Phase       corev1.PersistentVolumeClaimPhase
	Provisioner string // asked to make a volume
	Events      []event
}

type event struct{ kind, reason, message string }

func (p *claimPlan) say(kind, reason, format string, args ...any) {
	p.Events = append(p.Events, event{kind, reason, fmt.Sprintf(format, args...)})
}

// planClaim decides for a claim. volume is the one that it names, nil if that is absent; class is its class,
// nil if that is absent.
func planClaim(c *corev1.PersistentVolumeClaim, all []*corev1.PersistentVolume, volume *corev1.PersistentVolume, class *storagev1.StorageClass) claimPlan {
	if c.Annotations[bindCompleted] != "" {
		return planBound(c, volume)
	}
	p := claimPlan{Phase: corev1.ClaimPending}
	if c.Spec.VolumeName != "" {
		p.chosen(c, volume)
		return p
	}
	wait := delayed(c, class)
	v, err := match(c, all, wait)
	switch {
	case err != nil:
		p.say(corev1.EventTypeWarning, "FailedBinding", "%v", err)
	case v != nil:
		p.Volume = v
	case wait:
		p.say(corev1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	case claimClass(c) != "":
		p.provision(c, class)
	default:
		p.say(corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	}
	return p
}

// chosen binds a claim that names its volume, when that is there, fits and is free.
func (p *claimPlan) chosen(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
	switch {
	case v == nil: // it may come
	case v.Spec.ClaimRef == nil:
		if why := mismatch(v, c); why != "" {
			p.say(corev1.EventTypeWarning, "VolumeMismatch", "Cannot bind to requested volume %q: %s", v.Name, why)
			return
		}
		p.Volume = v
	case reservedFor(v, c):
		p.Volume = v
	default:
		p.say(corev1.EventTypeWarning, "FailedBinding", "volume %q already bound to a different claim.", v.Name)
	}
}

// provision asks the class's provisioner, which is another program, for a volume.
func (p *claimPlan) provision(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) {
	if class == nil {
		p.say(corev1.EventTypeWarning, "ProvisioningFailed", "storageclass.storage.k8s.io %q not found", claimClass(c))
		return
	}
	name := class.Provisioner
	if csi := csiNames[name]; csi != "" {
		name = csi
	} else if name == "kubernetes.io/no-provisioner" {
		p.say(corev1.EventTypeWarning, "ProvisioningFailed", "no volume plugin matched name: %s", name)
		return
	}
	p.Provisioner = name
	p.say(corev1.EventTypeNormal, "ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner '%s' "+
		"or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.", name)
}

// planBound looks after a claim that has been bound before.
func planBound(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) claimPlan {
	p := claimPlan{Phase: corev1.ClaimBound}
	lost := func(reason, message string) claimPlan {
		p.Phase = corev1.ClaimLost
		if c.Status.Phase != corev1.ClaimLost {
			p.say(corev1.EventTypeWarning, reason, "%s", message)
		}
		return p
	}
	switch {
	case c.Spec.VolumeName == "":
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	case v == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.Spec.ClaimRef == nil || reservedFor(v, c):
		p.Volume = v
		return p
	}
	return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

// A volumePlan is what becomes of a volume.
type volumePlan struct {
	Phase   corev1.PersistentVolumePhase
	Message string
	Unbind  bool // the claim it was reserved for has bound to another
	Events  []event
}

// planVolume decides for a volume. claim is the one of its claimRef's name, nil if that is absent.
func planVolume(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) volumePlan {
	ref := v.Spec.ClaimRef
	switch {
	case ref == nil, ref.UID == "":
		return volumePlan{Phase: corev1.VolumeAvailable}
	case claim == nil || claim.UID != ref.UID:
		return reclaim(v)
	case claim.Spec.VolumeName == v.Name:
		return volumePlan{Phase: corev1.VolumeBound}
	case claim.Spec.VolumeName != "":
		return volumePlan{Phase: corev1.VolumeAvailable, Unbind: true}
	}
	return volumePlan{Phase: v.Status.Phase} // on its way: the claim's turn comes next
}

// reclaim applies the policy to a volume whose claim is gone. Deleting what a volume stands for is the work
// of its provisioner; a volume made by hand has none.
func reclaim(v *corev1.PersistentVolume) volumePlan {
	p := volumePlan{Phase: corev1.VolumeReleased}
	switch v.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimDelete:
		if v.Annotations[provisionedBy] != "" || v.Spec.CSI != nil {
			return p
		}
		p.Phase = corev1.VolumeFailed
		p.Message = fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", v.Name)
		if v.Status.Phase != corev1.VolumeFailed {
			p.Events = append(p.Events, event{corev1.EventTypeWarning, "VolumeFailedDelete", p.Message})
		}
	case corev1.PersistentVolumeReclaimRecycle:
		p.Phase = corev1.VolumeFailed
		p.Message = "No recycler plugin found for the volume!"
		if v.Status.Phase != corev1.VolumeFailed {
			p.Events = append(p.Events, event{corev1.EventTypeWarning, "VolumeFailedRecycle", p.Message})
		}
	}
	return p
}
