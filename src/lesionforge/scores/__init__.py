"""Numbers about masks and predictions, with their units, directions and statistics."""

from lesionforge.scores.info import EMPTY_MASK_RULE, HIT_RULE, QUALITY_SCORES, SCORES, ScoreInfo, is_score, score_info

__all__ = ["EMPTY_MASK_RULE", "HIT_RULE", "QUALITY_SCORES", "SCORES", "ScoreInfo", "is_score", "score_info"]
