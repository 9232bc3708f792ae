// Package eventrate bounds how many events are written: by all, in a namespace, by a user, about an object.
package eventrate

import (
	"context"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"clipper/apiserver/admission"
)

// mostBuckets is how many namespaces, users or objects a limit remembers if it does not say. Upstream's figure.
const mostBuckets = 4096

// A Plugin is the admission plug-in EventRateLimit.
type Plugin struct{ limits []*limit }

// New returns the plug-in with the limits of its configuration, which it must have.
func New(raw []byte, c clock.Clock) (*Plugin, error) {
	config, err := readConfiguration(raw)
	if err != nil {
		return nil, err
	}
	p := &Plugin{}
	for _, l := range config.Limits {
		p.limits = append(p.limits, newLimit(l, c))
	}
	return p, nil
}

// Validate refuses an event that is one too many by any limit. Dry runs cost nothing.
func (p *Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create && a.Operation != admission.Update || a.DryRun || !ofCore(a) {
		return nil
	}
	var faults []error
	for _, l := range p.limits {
		if err := l.take(a); err != nil {
			faults = append(faults, err)
		}
	}
	if err := utilerrors.NewAggregate(faults); err != nil {
		return apierrors.NewTooManyRequestsError(err.Error())
	}
	return nil
}

// ofCore says whether the write is of an event in the core group's form: upstream limits no others.
func ofCore(a *admission.Attributes) bool {
	gvk := a.Resource.GVK()
	if a.Requested != nil {
		gvk = a.Requested.GVK
	}
	return gvk.Group == "" && gvk.Kind == "Event"
}

// A limit has a bucket for each of those whom it tells apart. It forgets who has not been seen for long.
type limit struct {
	kind LimitType
	key  func(*admission.Attributes) string
	make func() flowcontrol.RateLimiter

	mu      sync.Mutex // so that nobody gets two buckets
	buckets *lru.Cache
}

func newLimit(l Limit, c clock.Clock) *limit {
	size := int(l.CacheSize)
	if size == 0 || l.Type == ServerLimit {
		size = mostBuckets
	}
	return &limit{kind: l.Type, key: keys[l.Type], buckets: lru.New(size), make: func() flowcontrol.RateLimiter {
		return flowcontrol.NewTokenBucketRateLimiterWithClock(float32(l.QPS), int(l.Burst), c)
	}}
}

var keys = map[LimitType]func(*admission.Attributes) string{
	ServerLimit:    func(*admission.Attributes) string { return "" },
	NamespaceLimit: func(a *admission.Attributes) string { return a.Namespace },
	UserLimit: func(a *admission.Attributes) string {
		if a.User == nil {
			return ""
		}
		return a.User.GetName()
	},
	SourceAndObjectLimit: func(a *admission.Attributes) string {
		e, ok := a.Object.(*corev1.Event)
		if !ok {
			return ""
		}
		o := &e.InvolvedObject
		return strings.Join([]string{e.Source.Component, e.Source.Host, o.Kind, o.Namespace, o.Name, string(o.UID), o.APIVersion}, "")
	},
}

func (l *limit) take(a *admission.Attributes) error {
	key := l.key(a)
	if !l.bucket(key).TryAccept() {
		return fmt.Errorf("limit reached on type %v for key %v", l.kind, key)
	}
	return nil
}

func (l *limit) bucket(key string) flowcontrol.RateLimiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.buckets.Get(key); ok {
		return b.(flowcontrol.RateLimiter)
	}
	b := l.make()
	l.buckets.Add(key, b)
	return b
}
