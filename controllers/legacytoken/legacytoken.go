// Package legacytoken cleans up unbound service-account tokens that were made automatically by old clusters and that
// nobody has used for a year: first they are marked invalid, so that somebody who misses one can take the mark off, and
// after another year they are deleted. plan decides.
package legacytoken

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/podrefs"
	"clipper/apiserver/authn/satoken"
)

// Upstream's figures.
const (
	keep   = 365 * 24 * time.Hour // since the last use, and since a token was marked
	period = 24 * time.Hour
)

// TrackingConfigMap in kube-system says since when the use of tokens is noted: before, nothing is known.
const (
	TrackingConfigMap = "kube-apiserver-legacy-service-account-token-tracking"
	sinceKey          = "since"
)

// A Controller is the token cleaner.
type Controller struct {
	client api.Client
	now    func() time.Time
}

// New returns the controller; Run starts it.
func New(c api.Client) *Controller { return &Controller{client: c, now: time.Now} }

// Run looks at all tokens once a day, until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		if err := k.clean(ctx); err != nil && ctx.Err() == nil {
			slog.Error("unbound service-account tokens not cleaned up; the next try is in a day", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (k *Controller) clean(ctx context.Context) error {
	tracking, ok := api.ConfigMaps.View(k.client).Get(metav1.NamespaceSystem, TrackingConfigMap)
	if !ok {
		return nil
	}
	since, err := time.Parse(satoken.DateFormat, tracking.Data[sinceKey])
	if err != nil {
		return nil // somebody else's: nothing is known
	}
	now := k.now().UTC()
	if now.Before(since.AddDate(0, 0, 1).Add(keep)) {
		return nil
	}
	accounts, pods := api.ServiceAccounts.View(k.client), api.Pods.View(k.client)
	var faults []error
	for _, secret := range api.Secrets.View(k.client).List("") {
		if secret.Type != corev1.SecretTypeServiceAccountToken {
			continue
		}
		sa, _ := accounts.Get(secret.Namespace, secret.Annotations[corev1.ServiceAccountNameKey])
		switch plan(secret, sa, now, func() bool { return used(pods.List(secret.Namespace), secret.Name) }) {
		case mark:
			faults = append(faults, k.mark(ctx, secret, now))
		case remove:
			faults = append(faults, k.remove(ctx, secret))
		}
	}
	return errors.Join(faults...)
}

// An action is what becomes of one token.
type action int

const (
	leave action = iota
	mark         // as invalid
	remove
)

// plan decides about the token in secret at the time now. sa is its service account, nil if there is none. mounted says
// whether a pod uses the secret; it is asked last.
func plan(secret *corev1.Secret, sa *corev1.ServiceAccount, now time.Time, mounted func() bool) action {
	old := now.Add(-keep)
	oldDay := old.Format(satoken.DateFormat)
	if !secret.CreationTimestamp.Time.Before(old) || secret.DeletionTimestamp != nil {
		return leave
	}
	// A secret without the label was not used since uses are noted.
	if last, ok := secret.Labels[satoken.LastUsedLabel]; ok && (!isDate(last) || last >= oldDay) {
		return leave
	}
	if !madeFor(secret, sa) || mounted() {
		return leave
	}
	since := secret.Labels[satoken.InvalidSinceLabel]
	switch {
	case !isDate(since):
		return mark
	case since >= oldDay:
		return leave
	}
	return remove
}

func isDate(s string) bool {
	_, err := time.Parse(satoken.DateFormat, s)
	return err == nil
}

// madeFor reports whether a secret was made automatically: its service account lists it.
func madeFor(secret *corev1.Secret, sa *corev1.ServiceAccount) bool {
	if sa == nil {
		return false
	}
	if uid := secret.Annotations[corev1.ServiceAccountUIDKey]; uid != "" && uid != string(sa.UID) {
		return false
	}
	return slices.ContainsFunc(sa.Secrets, func(r corev1.ObjectReference) bool { return r.Name == secret.Name })
}

func used(pods []*corev1.Pod, secret string) bool {
	for _, p := range pods {
		for _, ref := range podrefs.Of(p) {
			if ref.Resource == api.Secrets.Resource && ref.Name == secret {
				return true
			}
		}
	}
	return false
}

func (k *Controller) mark(ctx context.Context, secret *corev1.Secret, now time.Time) error {
	next := secret.DeepCopy()
	metav1.SetMetaDataLabel(&next.ObjectMeta, satoken.InvalidSinceLabel, now.Format(satoken.DateFormat))
	return harmless(api.Secrets.Update(ctx, k.client, next))
}

func (k *Controller) remove(ctx context.Context, secret *corev1.Secret) error {
	version := secret.ResourceVersion
	return harmless(nil, api.Secrets.Delete(ctx, k.client, secret.Namespace, secret.Name,
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}))
}

// harmless forgets that somebody else was quicker: tomorrow is another day.
func harmless(_ *corev1.Secret, err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
