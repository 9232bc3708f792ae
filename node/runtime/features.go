package runtime

import "context"

// Features are what a runtime can do, as it stands in the node's status.
type Features struct {
	SupplementalGroupsPolicy  bool
	UserNamespacesHostNetwork bool
	Handlers                  []Handler
}

// A Handler is one way to run pods, which a RuntimeClass names; the default one has no name.
type Handler struct {
	Name                    string
	RecursiveReadOnlyMounts bool
	UserNamespaces          bool
}

// A FeatureTeller is a Runtime that says what it can do.
type FeatureTeller interface {
	Features(ctx context.Context) (Features, error)
}
