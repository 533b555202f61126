"""What is kept of ``tf.contrib.learn``: documents as numbers of words, with the numbers of TF 1.15.5, and modes."""

import collections
import pickle
import re

import numpy as np
import tensorflow

_WORD = re.compile(r"[A-Z]{2,}(?![a-z])|[A-Z][a-z]+(?=[A-Z])|['\w\-]+")


class ModeKeys:
    """The words for what a model function builds."""

    TRAIN, EVAL, INFER = "train", "eval", "infer"


def tokenizer(iterator):
    """Yields for each text the list of its words: runs of capitals, parts of CamelCase, and everything else."""
    yield from map(_WORD.findall, iterator)


class CategoricalVocabulary:
    """Numbers for words, in the order in which they come; 0 is for all that are not known."""

    def __init__(self, unknown_token="<UNK>", support_reverse=True):
        self._unknown_token = unknown_token
        self._support_reverse = support_reverse
        self._freeze = False
        self._freq = collections.Counter()
        self._number(())

    def __len__(self):
        return len(self._mapping)

    def _number(self, words):
        self._mapping = {word: number for number, word in enumerate([self._unknown_token, *words])}
        self._reverse_mapping = list(self._mapping)

    def freeze(self, freeze=True):
        """From now on, if ``freeze``, new words are not known."""
        self._freeze = freeze

    def get(self, category):
        """The number of a word, which is new if the word is."""
        if category not in self._mapping:
            if self._freeze:
                return 0
            self._mapping[category] = len(self._mapping)
            self._reverse_mapping.append(category)
        return self._mapping[category]

    def add(self, category, count=1):
        """Count a word."""
        if self.get(category) > 0:
            self._freq[category] += count

    def trim(self, min_frequency, max_frequency=-1):
        """Number anew, from the most frequent, the words that came more than ``min_frequency`` times.

        Args:
          min_frequency: words that came as often or less are not known any more.
          max_frequency: if greater than 0, nor are those that came as often or more.
        """
        words = sorted(self._freq, key=lambda word: (isinstance(word, str), word))
        words.sort(key=self._freq.__getitem__, reverse=True)
        kept = [word for word in words if max_frequency <= 0 or self._freq[word] < max_frequency]
        self._number([word for word in kept if self._freq[word] > min_frequency])
        self._freq = collections.Counter({word: self._freq[word] for word in self._reverse_mapping[1:]})

    def reverse(self, class_id):
        """The word of a number."""
        if not self._support_reverse:
            raise ValueError("`support_reverse` is False; make the vocabulary with True to use `reverse`.")
        return self._reverse_mapping[class_id]


class VocabularyProcessor:
    """Turns documents into arrays of `max_document_length` numbers of words, filled up with 0.

    Args:
      max_document_length: how many words of a document count.
      min_frequency: words that come as often or less are not known.
      vocabulary: a `CategoricalVocabulary`; a new one if None.
      tokenizer_fn: a function like `tokenizer`; that itself if None.
    """

    def __init__(self, max_document_length, min_frequency=0, vocabulary=None, tokenizer_fn=None):
        self.max_document_length = max_document_length
        self.min_frequency = min_frequency
        self.vocabulary_ = vocabulary or CategoricalVocabulary()
        self._tokenizer = tokenizer_fn or tokenizer

    def fit(self, raw_documents, unused_y=None):
        """Learn the words of the documents, and no others afterwards; returns this object."""
        for words in self._tokenizer(raw_documents):
            for word in words:
                self.vocabulary_.add(word)
        if self.min_frequency > 0:
            self.vocabulary_.trim(self.min_frequency)
        self.vocabulary_.freeze()
        return self

    def fit_transform(self, raw_documents, unused_y=None):
        """`fit`, then `transform`."""
        return self.fit(raw_documents).transform(raw_documents)

    def transform(self, raw_documents):
        """Yields an array [max_document_length], int64, for each document."""
        for words in self._tokenizer(raw_documents):
            numbers = np.zeros(self.max_document_length, np.int64)
            for place, word in enumerate(words[: self.max_document_length]):
                numbers[place] = self.vocabulary_.get(word)
            yield numbers

    def reverse(self, documents):
        """Yields the words of each array of numbers."""
        for numbers in documents:
            yield " ".join(map(self.vocabulary_.reverse, numbers))

    def save(self, filename):
        """Write this object to a file, as a pickle."""
        with tensorflow.io.gfile.GFile(filename, "wb") as file:
            file.write(pickle.dumps(self))

    @classmethod
    def restore(cls, filename):
        """Read what `save` wrote. A pickle can run any code: restore only what you trust."""
        with tensorflow.io.gfile.GFile(filename, "rb") as file:
            return pickle.loads(file.read())
