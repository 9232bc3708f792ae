package presence

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
)

const (
	identityLabel = "apiserver.kubernetes.io/identity"
	component     = "kube-apiserver"
)

// Identity names the server on a host: the same after a restart, and different from other kinds of servers there.
func Identity(host string) string {
	var data []byte
	for _, part := range []string{host, component} {
		data = binary.BigEndian.AppendUint16(data, uint16(len(part)))
		data = append(data, part...)
	}
	sum := sha256.Sum256(data)
	return "apiserver-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// renew says that the server is alive, if that is not to be seen.
func (a *Announcer) renew(ctx context.Context) error {
	now := metav1.NewMicroTime(a.now())
	have, ok := api.Leases.View(a.Client).Get(metav1.NamespaceSystem, a.identity)
	if !ok {
		_, err := api.Leases.Create(ctx, a.Client, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: a.identity,
				Labels: map[string]string{identityLabel: component, corev1.LabelHostname: a.Host}},
			Spec: a.spec(now),
		})
		return err
	}
	if a.stands(have) {
		return nil
	}
	next := have.DeepCopy()
	next.Spec = a.spec(now)
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	next.Labels[identityLabel], next.Labels[corev1.LabelHostname] = component, a.Host
	_, err := api.Leases.Update(ctx, a.Client, next)
	return err
}

// stands says that a lease is this server's, as it wrote it, and not old.
func (a *Announcer) stands(l *coordinationv1.Lease) bool {
	s := &l.Spec
	return s.RenewTime != nil && a.now().Sub(s.RenewTime.Time) < renewEvery &&
		ptr.Deref(s.HolderIdentity, "") == a.holder && ptr.Deref(s.LeaseDurationSeconds, 0) == int32(leaseDuration/time.Second) &&
		l.Labels[identityLabel] == component && l.Labels[corev1.LabelHostname] == a.Host
}

func (a *Announcer) spec(now metav1.MicroTime) coordinationv1.LeaseSpec {
	return coordinationv1.LeaseSpec{
		HolderIdentity: &a.holder, LeaseDurationSeconds: ptr.To(int32(leaseDuration / time.Second)), RenewTime: &now,
	}
}

// collect deletes the leases of servers that have been gone for long.
func (a *Announcer) collect(ctx context.Context) error {
	for _, l := range api.Leases.View(a.Client).List(metav1.NamespaceSystem) {
		if l.Labels[identityLabel] != component || !expired(&l.Spec, a.now()) {
			continue
		}
		err := api.Leases.Delete(ctx, a.Client, l.Namespace, l.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &l.UID, ResourceVersion: &l.ResourceVersion}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

func expired(s *coordinationv1.LeaseSpec, now time.Time) bool {
	if s.RenewTime == nil || s.LeaseDurationSeconds == nil {
		return true
	}
	return s.RenewTime.Add(time.Duration(*s.LeaseDurationSeconds) * time.Second).Before(now)
}
