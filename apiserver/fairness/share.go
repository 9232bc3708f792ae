package fairness

import (
	"fmt"
	"math"
)

// A claim is what one priority level may have of the server's seats, and what it would like.
type claim struct{ low, high, target float64 }

// share divides total seats among levels in proportion to their targets, within their bounds. factor is
// how many seats there are for each seat of a target.
func share(total float64, claims []claim) (seats []float64, factor float64, err error) {
	const least, slack = 0.001, 1e-7 // a level that wants nothing still has a proportion
	var low, high, most float64
	for _, c := range claims {
		low, high = low+c.low, high+c.high
		most = max(most, c.high/max(c.target, least))
	}
	if low > total+slack || high < total-slack {
		return nil, 0, fmt.Errorf("%v seats cannot be divided among levels that have %v to %v", total, low, high)
	}
	given := func(f float64) (sum float64) {
		for _, c := range claims {
			sum += within(f*max(c.target, least), c)
		}
		return sum
	}
	// What is given away grows with the factor: halve the interval until it is exact.
	from, to := 0.0, most
	for range 200 {
		if factor = (from + to) / 2; given(factor) < total {
			from = factor
		} else {
			to = factor
		}
	}
	seats = make([]float64, len(claims))
	for i, c := range claims {
		seats[i] = within(to*max(c.target, least), c)
	}
	return seats, to, nil
}

func within(x float64, c claim) float64 { return math.Max(c.low, math.Min(c.high, x)) }

// A demand is what borrowing knows of a level.
type demand struct {
	exempt                bool
	nominal, lower, upper int     // configured
	high                  int     // most seats that were asked for in the last period
	smoothed              float64 // how many it usually wants
}

// floor is what a level must have now: what it needs, but no more than is its own, and what cannot be lent.
func (d demand) floor() int {
	if d.exempt {
		return max(d.lower, d.high)
	}
	return max(d.lower, min(d.nominal, d.high))
}

func (d demand) target() float64 { return math.Max(float64(d.floor()), d.smoothed) }

// limits decides how many seats each level has for the next period: levels that need little lend to those
// that need more. The sum of nominal limits is divided; exempt levels take theirs first.
func limits(levels []demand) (seats []int, factor float64, err error) {
	total, remaining, lower, floor := 0, 0, 0, 0
	var claims []claim
	for _, d := range levels {
		total += d.nominal
		if d.exempt {
			remaining -= d.floor()
			continue
		}
		lower, floor = lower+d.lower, floor+d.floor()
		claims = append(claims, claim{low: float64(d.floor()), high: float64(d.upper), target: d.target()})
	}
	remaining += total
	var shares []float64
	if remaining > lower && remaining > floor {
		if shares, factor, err = share(float64(total), claims); err != nil {
			return nil, 0, err
		}
	}
	seats = make([]int, len(levels))
	next := 0
	for i, d := range levels {
		switch {
		case d.exempt:
			seats[i] = d.floor()
			continue
		case remaining <= lower:
			seats[i] = d.lower
		case remaining <= floor:
			part := float64(remaining-lower) / float64(floor-lower)
			seats[i] = d.lower + int(math.Round(float64(d.floor()-d.lower)*part))
		default:
			seats[i] = int(math.Round(shares[next]))
		}
		next++
	}
	return seats, factor, nil
}
