"""Programs that were looked for and could not be had from a registry, with the reason."""

ABSENT = {
    "kopia": "its module could not be had from the Go module proxy",
    "S3 Encryption Client for Go": "its module could not be had from the Go module proxy",
    "AWS SDK for .NET": "needs dotnet, which is not in Debian",
    "AWS SDK for C++": "not in Debian; PyArrow, above, has it inside",
    "S3 connector for PyTorch with PyTorch": "PyTorch from PyPI brings some GB; the connector's client, above, is what speaks S3",
}
