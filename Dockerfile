# SPDX-License-Identifier: Apache-2.0
# The job image: Flink with Python 3.11 and the very packages of requirements.lock, the jars of Flink's lib folder, our
# connector and the code. docker-compose.yml runs every service of the local stack from it.
#
# It is set up by the same command as a checkout (`make setup`), so all versions are those of requirements.lock and
# ops/bootstrap/pom.xml. An app of your own: FROM this image, USER root, COPY it to /opt/threadlog, install what it needs
# into /opt/threadlog/.venv, USER threadlog. No container engine was at hand to build it; tests hold its lines against the
# set-up.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3.11 python3.11-venv openjdk-17-jdk-headless maven \
 && rm -rf /var/lib/apt/lists/*
ENV LANG=C.UTF-8 PYTHONHASHSEED=0 PATH=/opt/threadlog/.venv/bin:$PATH
WORKDIR /opt/threadlog

# What set-up reads comes first, so that an edit of the code does not fetch the packages and jars again.
COPY requirements.lock setup.cfg pyproject.toml ./
COPY ops/__init__.py ops/
COPY ops/bootstrap ops/bootstrap
COPY connector connector
RUN python3.11 -m ops.bootstrap python-packages kafka registry connector flink-lib connector-jar \
 && rm -rf /root/.cache /root/.m2

COPY . .
# Volumes take over the owner of the folder that they are mounted on.
RUN useradd --system --uid 9999 threadlog \
 && mkdir -p /var/lib/threadlog \
 && cd /var/lib/threadlog \
 && mkdir conf flink jobs kafka logs payments registry run tmp zookeeper \
 && chown -R threadlog . \
 && python -m compileall -q /opt/threadlog/schemas /opt/threadlog/threadlog /opt/threadlog/wire /opt/threadlog/udfs \
    /opt/threadlog/jobs /opt/threadlog/ops /opt/threadlog/examples
USER threadlog
