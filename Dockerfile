# The image that the files in cluster/ run: mrigen, its jobs and Ray. For GPUs by default:
#   docker build -t registry.example.com/mrigen:0.1.0 .
# PyPI's torch brings CUDA's libraries along, so the base needs none; the node needs NVIDIA's driver and
# container toolkit. Without GPUs, and several GB smaller:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -t registry.example.com/mrigen:0.1.0 .
# BASE may be any Debian or Ubuntu image with Python 3.11 and venv, such as rayproject/ray:2.60.0-py311.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

ARG TORCH_INDEX=https://pypi.org/simple

USER 0
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# wget: KubeRay's health probes; rsync: `ray up` copies files with it. Their versions are the base's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends rsync wget \
    && rm -rf /var/lib/apt/lists/*

# One user of id 1000, whatever the base has; login shells, which `ray up` uses, find the commands too.
# hadolint ignore=SC2016
RUN if ! getent passwd 1000; then useradd --create-home --uid 1000 mrigen; fi \
    && python3 -m venv /opt/mrigen \
    && echo 'export PATH=/opt/mrigen/bin:$PATH' > /etc/profile.d/mrigen.sh
ENV PATH=/opt/mrigen/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /opt/mrigen/src
COPY constraints.txt requirements.txt ./
# boto3 is among them: with it the head of a `ray up` cluster on AWS starts its workers.
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.txt
# Of another index than PyPI torch has another hash, and other packages beside it.
RUN pip install --no-cache-dir --index-url "${TORCH_INDEX}" \
    "$(grep '^torch==' constraints.txt)"

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY mrigen mrigen
COPY jobs jobs
COPY cluster cluster
RUN pip install --no-cache-dir --no-index --no-deps --no-build-isolation .

USER 1000
WORKDIR /tmp
CMD ["mrigen", "--help"]
