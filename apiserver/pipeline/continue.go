package pipeline

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// continueVersion marks the token's format; it is upstream's.
const continueVersion = "meta.k8s.io/v1"

// A continueToken says where a list goes on. The revision is -1 where the first pages' state is gone and
// the client accepted a list that is not of one state.
type continueToken struct {
	revision        int64
	namespace, name string // the last object delivered; namespace only for lists across namespaces
	// issued is when the first page was read. The store may keep its state for long, but clients expect
	// tokens to expire: upstream's do when etcd is compacted.
	issued time.Time
}

// tokenLife is the age at which a token has expired: upstream's interval of compaction.
const tokenLife = 5 * time.Minute

func (t continueToken) expired(now time.Time) bool {
	return t.revision >= 0 && now.Sub(t.issued) > tokenLife
}

type wireToken struct {
	APIVersion      string `json:"v"`
	ResourceVersion int64  `json:"rv"`
	StartKey        string `json:"start"`
	Issued          int64  `json:"t,omitempty"`
}

// String encodes t for the client. The start key is the last key and a zero byte: the next possible key.
func (t continueToken) String() string {
	key := t.name + "\x00"
	if t.namespace != "" {
		key = t.namespace + "/" + key
	}
	out, err := json.Marshal(wireToken{continueVersion, t.revision, key, t.issued.Unix()})
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	return base64.RawURLEncoding.EncodeToString(out)
}

// parseContinue reads a token that some client sent. namespaced: its key names the namespace too.
func parseContinue(s string, namespaced bool) (continueToken, error) {
	var wire wireToken
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return continueToken{}, fmt.Errorf("continue key is not valid: %w", err)
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return continueToken{}, fmt.Errorf("continue key is not valid: %w", err)
	}
	switch {
	case wire.APIVersion != continueVersion:
		return continueToken{}, fmt.Errorf("continue key is not valid: server does not recognize this encoded version %v", wire.APIVersion)
	case wire.ResourceVersion == 0:
		return continueToken{}, errors.New("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case wire.StartKey == "":
		return continueToken{}, errors.New("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
	}
	t := continueToken{revision: wire.ResourceVersion, name: strings.TrimSuffix(wire.StartKey, "\x00"), issued: time.Unix(wire.Issued, 0)}
	namespace, name, ok := strings.Cut(t.name, "/")
	switch {
	case ok && strings.Contains(name, "/"):
		return continueToken{}, fmt.Errorf("continue key is not valid: %s", wire.StartKey)
	case ok && namespaced:
		t.namespace, t.name = namespace, name
	case ok != namespaced:
		return continueToken{}, fmt.Errorf("continue key is not valid: %s", wire.StartKey)
	}
	return t, nil
}
