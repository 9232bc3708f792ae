package store

import (
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
)

// Options say how a store behaves. The zero value of a field means its default.
type Options struct {
	// Codec turns objects into the log's values and back.
	Codec Codec
	// Resources maps storage prefixes to resources, for their indexes and for prefixes of more than one
	// element. A prefix that is missing here is stored all the same, without indexes.
	Resources map[string]api.Resource

	// Keeps says of a storage prefix whether its keys in a log that others write to are the store's. Nil: all are.
	Keeps func(prefix string) bool

	// TTL says, by storage prefix, how long an object stays when nobody writes to it again: events, for one.
	// After a restart an object counts from when it says that it was written.
	TTL map[string]time.Duration

	// Root begins every key of the log; "/registry/".
	Root string

	RingSize  int // events kept per resource; 8192
	RingBytes int // and the sum of their encoded sizes; 4 MiB, which is several times that in objects. The last 64 events are kept whatever their size.

	// RingTotal is what the rings of all resources may come to together, counted in the same way; 12 MiB. A
	// resource that has just become busy may exceed it for half a minute.
	RingTotal int

	RingAge time.Duration // and how long they are kept; 5 minutes. The last 64 are kept however old.

	// Sealer encrypts the values of some resources. Nil: nothing is encrypted.
	Sealer Sealer

	// Committed, if set, is told of every write: the resource and its storage prefix, create, update or delete, how
	// long it took and what came of it.
	Committed func(r schema.GroupResource, prefix, operation string, took time.Duration, err error)

	// CheckMutation makes the store remember what every published object encodes to; Verify compares.
	CheckMutation bool
}

// A Codec encodes objects for the log; package codec has the one that servers use. Encode must not
// change obj; the store has emptied its resourceVersion, which the log keeps apart. Both are called from
// many goroutines at once.
type Codec struct {
	Encode func(k Key, obj api.Object) ([]byte, error)
	// Decode must not keep data.
	Decode func(k Key, data []byte) (api.Object, error)
}

// TimeToLive says how long the object at a path of the log stays when nobody writes to it again; 0: for ever.
func (o Options) TimeToLive(path string) time.Duration {
	o = o.withDefaults()
	k, err := parsePath(path, o.Root, o.Resources)
	if err != nil {
		return 0
	}
	return o.TTL[k.Resource]
}

const (
	defaultRingSize  = 8192
	defaultRingBytes = 4 << 20
	defaultRingTotal = 12 << 20
	defaultRingAge   = 5 * time.Minute // upstream compacts its history as often
	minRing          = 64
)

func (o Options) withDefaults() Options {
	if o.Root == "" {
		o.Root = DefaultRoot
	}
	if o.RingSize == 0 {
		o.RingSize = defaultRingSize
	}
	if o.RingBytes == 0 {
		o.RingBytes = defaultRingBytes
	}
	if o.RingTotal == 0 {
		o.RingTotal = max(defaultRingTotal, o.RingBytes)
	}
	if o.RingAge == 0 {
		o.RingAge = defaultRingAge
	}
	return o
}
