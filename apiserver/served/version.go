package served

import "k8s.io/apimachinery/pkg/version"

// compareVersions orders API versions as upstream does: GA above beta above alpha, then by number.
func compareVersions(a, b string) int { return version.CompareKubeAwareVersionStrings(a, b) }
