package server

// partSize keeps an answer's parts below what one message may hold.
const partSize = 100

// inParts sends items by the hundred.
func inParts[T any](items []T, err error, send func([]T) error) error {
	for err == nil && len(items) > 0 {
		n := min(len(items), partSize)
		err = send(items[:n])
		items = items[n:]
	}
	return err
}

// selects reports whether labels have all that the selector asks for.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}
