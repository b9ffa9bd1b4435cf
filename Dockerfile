# docker build --tag mlpax . && docker run --rm --volume "$PWD:/work" mlpax train houses.csv --target price
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml README.md LICENSE MANIFEST.in constraints.txt ./
COPY src src
RUN python -m venv /opt/mlpax && /opt/mlpax/bin/pip install --no-cache-dir --constraint constraints.txt '.[serve,export]'

FROM python:3.13-slim
COPY --from=build /opt/mlpax /opt/mlpax
# The user's home holds JAX's and matplotlib's caches; runs are written to /work.
RUN useradd --create-home --uid 1000 mlpax && mkdir /work && chown mlpax /work
USER mlpax
WORKDIR /work
ENV PATH=/opt/mlpax/bin:$PATH
ENTRYPOINT ["mlpax"]
CMD ["--help"]
