"""The check by numbers: with a silent extension, the motivated model must compute what the base computes."""
