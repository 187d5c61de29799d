"""The model card that lies beside the weights."""

from collections.abc import Mapping

from model.embedding.trainer import Outcome


def model_card(base: str, version: str, kinds: Mapping[str, int], outcome: Outcome) -> str:
    """Text of README.md in the model's folder, with the header that model hubs read.

    Args:
        base: Name of the base model.
        version: Version of the artifact.
        kinds: Training pairs by kind.
        outcome: What training came to.
    """
    pairs = "\n".join(f"- {count:,} {kind}" for kind, count in kinds.items())
    quality = "There were no judged validation queries: quality was not measured."
    if outcome.base is not None and outcome.trained is not None:
        quality = (
            f"nDCG@10 on validation queries, which are later than all training pairs: base {outcome.base:.4f}, "
            f"this model {outcome.trained:.4f} (step {outcome.progress.best_step} of {outcome.steps})."
        )
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [feature-extraction, sentence-similarity]
---

# custom-emb {version[:12]}

Sentence encoder made by ragrec from `{base}`: mean of the token vectors (or the first), length 1, cosine similarity.
Made for one organisation's documents; elsewhere it may be worse than its base.

## Trained on

{pairs}

All pairs are links of the data itself, from before the validation period; in-batch negatives, both directions.

## Quality

{quality}
The licence of the base model applies to the weights, that of the data to what can be read out of them.
"""
