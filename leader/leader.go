// Package leader has one of several servers do what only one may do at a time: run the controllers, schedule. Who
// does is agreed on by a Lease in kube-system, under the name that upstream's component of the same duty uses,
// so that neither Clipper's servers nor upstream's act beside each other.
package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"clipper/api"
)

// Upstream's figures: how long a leader that says nothing stays one, how long it tries to say something before it
// gives up by itself, and how often everyone looks.
const (
	duration = 15 * time.Second
	deadline = 10 * time.Second
	retry    = 2 * time.Second
)

// A Duty is what one server at a time does.
type Duty struct {
	Name   string // of the Lease: "kube-scheduler"
	Client api.Client
	// Identity tells this server from the others; NewIdentity makes one.
	Identity string
	// Run does it until ctx ends. It is called again whenever this server becomes the leader again.
	Run func(ctx context.Context) error
}

// NewIdentity returns an identity in upstream's form.
func NewIdentity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("leader: this host's name: %w", err)
	}
	return host + "_" + string(uuid.NewUUID()), nil
}

// Lead competes for d until ctx ends or d.Run fails. When it returns, d.Run has.
func Lead(ctx context.Context, d Duty) error {
	for ctx.Err() == nil {
		if err := term(ctx, d); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// term waits for the lease, and runs d for as long as it is held.
func term(ctx context.Context, d Duty) error {
	l := &lock{duty: d, lapsed: vacancy(ctx, d)}
	if ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began, done := make(chan struct{}), make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: d.Name, Lock: l, LeaseDuration: duration, RenewDeadline: deadline, RetryPeriod: retry,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				close(began)
				slog.Info("this server leads", "duty", d.Name)
				err := d.Run(ctx)
				if ctx.Err() == nil {
					err = errors.Join(err, fmt.Errorf("%s ended by itself", d.Name))
					cancel()
				} else {
					err = nil
				}
				done <- err
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != "" && identity != d.Identity {
					cancel() // somebody was quicker: wait for the next vacancy
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("leader of %s: %w", d.Name, err)
	}
	elector.Run(ctx)
	if !l.held {
		return nil
	}
	<-began // the elector starts it and does not wait
	err = <-done
	slog.Info("this server leads no more", "duty", d.Name)
	l.release()
	return err
}

// A lock is the Lease. Only its elector's goroutine uses it.
type lock struct {
	duty  Duty
	lease *coordinationv1.Lease // as last read or written
	held  bool                  // at some time

	lapsed string // resourceVersion of a lease that is nobody's any more, whatever it says
}

var _ resourcelock.Interface = (*lock)(nil)

// Get implements resourcelock.Interface.
func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	lease, err := api.Leases.Get(ctx, l.duty.Client, metav1.NamespaceSystem, l.duty.Name)
	if err != nil {
		return nil, nil, err
	}
	l.lease = lease
	record := resourcelock.LeaseSpecToLeaderElectionRecord(&lease.Spec)
	if lease.ResourceVersion == l.lapsed {
		record.HolderIdentity = "" // the elector would begin to count from now
	}
	raw, err := json.Marshal(record)
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (l *lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	lease, err := api.Leases.Create(ctx, l.duty.Client, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: l.duty.Name},
		Spec:       resourcelock.LeaderElectionRecordToLeaseSpec(&r),
	})
	return l.wrote(lease, r, err)
}

// Update implements resourcelock.Interface. The revision of the lease as last read is the precondition.
func (l *lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	if l.lease == nil {
		return errors.New("the lease has not been read yet")
	}
	next := l.lease.DeepCopy()
	next.Spec = resourcelock.LeaderElectionRecordToLeaseSpec(&r)
	lease, err := api.Leases.Update(ctx, l.duty.Client, next)
	return l.wrote(lease, r, err)
}

func (l *lock) wrote(lease *coordinationv1.Lease, r resourcelock.LeaderElectionRecord, err error) error {
	if err != nil {
		return err
	}
	l.lease = lease
	l.held = l.held || r.HolderIdentity == l.duty.Identity
	return nil
}

// release lets another server begin at once. It comes after the duty has ended, which the elector would not
// wait for.
func (l *lock) release() {
	ctx, cancel := context.WithTimeout(context.Background(), retry)
	defer cancel()
	record, _, err := l.Get(ctx)
	if err != nil || record.HolderIdentity != l.duty.Identity {
		return // it is another's, or runs out
	}
	now := metav1.NewTime(time.Now())
	record.HolderIdentity, record.LeaseDurationSeconds, record.RenewTime, record.AcquireTime = "", 1, now, now
	if err := l.Update(ctx, *record); err != nil {
		slog.Debug("lease not released; it runs out", "lease", l.Describe(), "err", err)
	}
}

// RecordEvent implements resourcelock.Interface.
func (l *lock) RecordEvent(what string) {
	slog.Debug("leader election", "lease", l.Describe(), "identity", l.duty.Identity, "what", what)
}

// Identity implements resourcelock.Interface.
func (l *lock) Identity() string { return l.duty.Identity }

// Describe implements resourcelock.Interface.
func (l *lock) Describe() string { return metav1.NamespaceSystem + "/" + l.duty.Name }
