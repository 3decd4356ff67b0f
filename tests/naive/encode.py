"""Encoders from their equations: dictionaries, Python integers, one string and one feature at a time."""

import cmath
import math
import re
import unicodedata

MASK = (1 << 64) - 1


def integer(n, factors):
    """{prime: amplitude} of an integer with the given [(prime, exponent)]."""
    golden = (1 + math.sqrt(5)) / 2
    return {p: math.sqrt(e) * cmath.exp(2j * math.pi * (e * golden % 1)) for p, e in factors}


def strongest(row, k=None, energy=None):
    """Positions, ascending, of the entries of one row that stay."""
    order = sorted((j for j in range(len(row)) if row[j] != 0), key=lambda j: (-abs(row[j]), j))
    if energy is not None and energy < 1:
        total, held, count = sum(abs(x) ** 2 for x in row), 0.0, 0
        while count < len(order) and (count == 0 or held < energy * total):
            held += abs(row[order[count]]) ** 2
            count += 1
        order = order[:count]
    return sorted(order if k is None else order[:k])


def words(string):
    string = unicodedata.normalize("NFC", string)
    found = re.findall(r"\w+", string) or re.findall(r"\S+", string)
    fold = []
    for word in found:
        fold.append(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold()))
    return fold


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def fnv(data, seed=0):
    h = 0xCBF29CE484222325 ^ seed
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def features(word, shortest, longest):
    """Hashes of a word and of its n-grams, with repetition."""
    found = [mix(fnv(word.encode("utf-8", "surrogatepass"), 0x9E3779B97F4A7C15))]
    padded = f" {word} "
    for start in range(len(padded)):
        for n in range(shortest, longest + 1):
            gram = padded[start : start + n]
            if len(gram) == n and gram != padded:
                found.append(mix(fnv(gram.encode("utf-8", "surrogatepass"))))
    return found


def ngram_states(strings, primes, k, ngrams, ngram_weight):
    """[{prime: (amplitude, feature hash, phase)}] by the docstring of the encoder."""
    rows, is_word = [], {}
    for string in strings:
        found = words(string)
        row = {}
        for j, word in enumerate(found):
            place = cmath.exp(1j * math.pi * (j + 0.5) / len(found))
            for number, h in enumerate(features(word, *ngrams)):
                tf, position = row.get(h, (0, 0))
                row[h] = tf + 1, position + place
                is_word[h] = number == 0
        rows.append(row)
    df = {}
    for row in rows:
        for h in row:
            df[h] = df.get(h, 0) + 1
    states = []
    for row in rows:
        weight = {}
        for h, (tf, _) in row.items():
            scale = 1 if is_word[h] else ngram_weight
            weight[h] = scale * (1 + math.log(tf)) * (1 + math.log((1 + len(strings)) / (1 + df[h])))
        best = {}
        for h in sorted(row, key=lambda h: (df[h] < 2, -weight[h], h)):
            if weight[h] > 0:
                best.setdefault(primes[h % len(primes)], h)
        # of equals over different primes the earlier prime
        order = sorted(best, key=lambda p: (df[best[p]] < 2, -weight[best[p]], p))[:k]
        norm = math.sqrt(sum(weight[best[p]] ** 2 for p in order))
        state = {}
        for p in sorted(order):
            phase = cmath.phase(row[best[p]][1])
            state[p] = weight[best[p]] / norm * cmath.exp(1j * phase), best[p], phase
        states.append(state)
    return states


def orientation(h, phase):
    """The hash's uniform quaternion, turned from the left about z by twice phase/4."""
    u = [(mix((h + i * 0x9E3779B97F4A7C15) & MASK) >> 11) * 2.0**-53 for i in (1, 2, 3)]
    a, b = math.sqrt(u[0]), math.sqrt(1 - u[0])
    first, second = 2 * math.pi * u[1], 2 * math.pi * u[2]
    w, x, y, z = a * math.cos(first), b * math.cos(second), b * math.sin(second), a * math.sin(first)
    c, s = math.cos(phase / 4), math.sin(phase / 4)  # (c, 0, 0, s) times (w, x, y, z)
    return [c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w]


def original_hash(string):
    """Java's string hash over UTF-16 units as int32, and the sum of the units."""
    h = total = 0
    data = string.encode("utf-16-be", "surrogatepass")
    for j in range(0, len(data), 2):
        unit = 256 * data[j] + data[j + 1]
        h = (31 * h + unit) % 2**32
        total += unit
    return h - 2**32 if h >= 2**31 else h, total


def original_state(string, primes, k):
    """{prime: (amplitude, quaternion)}."""
    h, c = original_hash(string)
    state = {}
    for i in range(k):
        column = int(abs(float(h) * (i + 1) * 31337) % len(primes))
        axis = [math.sin(c + i), math.cos(c * i), math.sin(i)]
        norm = math.sqrt(sum(x * x for x in axis))
        half = math.fmod(c * i, 2 * math.pi) / 2
        q = [math.cos(half)] + [math.sin(half) * x / norm for x in axis]
        state[primes[column]] = cmath.exp(2j * math.pi * i / k) / math.sqrt(k), q
    return state


def tfidf(strings):
    """(vocabulary, rows) dense."""
    bags = [words(string) for string in strings]
    vocabulary = sorted({word for bag in bags for word in bag})
    rows = []
    for bag in bags:
        row = []
        for word in vocabulary:
            df = sum(word in other for other in bags)
            tf = bag.count(word)
            row.append((1 + math.log(tf)) * (1 + math.log((1 + len(bags)) / (1 + df))) if tf else 0.0)
        norm = math.sqrt(sum(x * x for x in row))
        rows.append([x / norm if norm else 0.0 for x in row])
    return vocabulary, rows
